"""Lists and small language facts: shopping lists, opposites, plurals, verb forms, spelling, alphabetical order."""

import random

from tunelab.data.synthetic.draw import pick, shuffled
from tunelab.data.synthetic.lexicon import describing, doing, food, things
from tunelab.data.synthetic.templates import LEXICON, compiled, with_articles

_CATEGORIES = {
    "animals": things.ANIMALS,
    "tools": things.TOOLS,
    "buildings and places": things.SITES,
    "jobs": things.JOBS,
    "plants": things.PLANTS,
    "colours": things.COLOURS,
    "clothes": things.CLOTHES,
    "vehicles": things.VEHICLES,
    "ingredients": food.INGREDIENTS,
    "drinks": food.DRINKS,
    "school subjects": things.SUBJECTS,
    "materials": things.MATERIALS,
    "furniture": things.FURNITURE,
    "kinds of weather": things.WEATHER,
    "months": things.MONTHS,
    "cuisines": list(food.CUISINES),
}
_PHRASES = compiled("""
    {idea} is better than {idea}.
    He who {does} a {noun} {how} will {act} {when}.
    No {adj} {noun} without a {adj} {noun}.
    Many {nouns} {act}, but few {animals} {act} {how}.
    A {kindly} {job} {often} {does} {adj} {tools}.
    Where there is {weather}, there is {idea}.
    The {adj} {noun} {where} belongs to the {job}.
    {few} {colour} {nouns} stood {where}.
    She {often} {acts} {when}; he {often} {does} {foods}.
    It is {adj} to {do} {tools} and {adj} to {do} {plants}.
    They were {doing} the {noun} {how} when the {weather} came.
    {acting} and {acting} make {jobs} {kindly}.
    I have {did} more {nouns} than any {job} in {town}.
    If the {animal} {acts}, {do} the {noun}.
    We {did} our {nouns} {where} and {acted} {how}.
    You should {do} {few} {nouns} before {month}.
    There were {hundreds} {nouns}, each {adj} and {colour}.
    Do not {do} the {adj} {noun}; {do} the {adj} one.
""")


def _category(rng: random.Random) -> str:
    name = pick(rng, tuple(_CATEGORIES))
    items = shuffled(rng, _CATEGORIES[name])[: 3 + int(rng.random() * 8)]
    if rng.random() < 0.4:
        return f"{name.capitalize()}:\n" + "\n".join(f"- {item}" for item in items)
    if rng.random() < 0.5:
        return f"{name.capitalize()}: {', '.join(items)}."
    return "\n".join([f"A list of {name}", *(f"{index}. {item}" for index, item in enumerate(items, 1))])


def _opposites(rng: random.Random) -> str:
    pairs = shuffled(rng, list(describing.OPPOSITES.items()))[: 4 + int(rng.random() * 4)]
    return " ".join(f"The opposite of {left} is {right}." for left, right in pairs)


def _plurals(rng: random.Random) -> str:
    nouns = shuffled(rng, things.ANIMALS + things.TOOLS)[:6]
    return " ".join(f"One {noun}, many {things.plural(noun)}." for noun in nouns)


def _forms(rng: random.Random) -> str:
    verbs = shuffled(rng, doing.TRANSITIVE + doing.INTRANSITIVE)[:4]
    return "\n".join(f"to {v.base}: today it {v.third}, yesterday it {v.past}, it has been {v.ing}" for v in verbs)


def _spelling(rng: random.Random) -> str:
    words = shuffled(rng, LEXICON["noun"])[:4]
    return "\n".join(f"{word} is spelled {'-'.join(word)} and has {len(word)} letters" for word in words)


def _alphabet(rng: random.Random) -> str:
    words = shuffled(rng, LEXICON["noun"])[:5]
    return f"Unsorted: {', '.join(words)}\nSorted: {', '.join(sorted(words))}"


def _echo(rng: random.Random) -> str:
    words = shuffled(rng, LEXICON["noun"] + LEXICON["town"])[: 4 + int(rng.random() * 5)]
    return f"Say it twice: {' '.join(words)} / {' '.join(words)}"


def _proverbs(rng: random.Random) -> str:
    return " ".join(pick(rng, _PHRASES).fill(rng, {}) for _ in range(3 + int(rng.random() * 4)))


_FORMS = (
    _category,
    _category,
    _category,
    _opposites,
    _plurals,
    _forms,
    _spelling,
    _alphabet,
    _echo,
    _proverbs,
    _proverbs,
)


def document(rng: random.Random) -> str:
    """Two or three lists of different kinds."""
    return with_articles("\n\n".join(pick(rng, _FORMS)(rng) for _ in range(2 + int(rng.random() * 2))))
