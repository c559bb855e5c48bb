"""Sentences with named holes, compiled once and filled many times.

`{animal}` is any animal of the lexicon; `{animal:pet}` is drawn once and stays the same wherever `{animal:pet}` occurs
in a document. A hole that the caller has bound takes the caller's value.
"""

import random
import re

from tunelab.data.synthetic.lexicon import describing, doing, food, names, things

_NOUNS = things.TOOLS + things.ANIMALS + things.SITES + things.PLANTS + things.CLOTHES + things.VEHICLES

LEXICON: dict[str, list[str]] = {
    "woman": names.WOMEN,
    "man": names.MEN,
    "person": names.WOMEN + names.MEN,
    "surname": names.SURNAMES,
    "town": names.TOWNS,
    "river": names.RIVERS,
    "street": [f"{a} {b}" for a in names.STREET_NAMES for b in names.STREET_TYPES],
    "area": list(names.AREAS),
    "landmark": list(names.LANDMARKS),
    "cuisine": list(food.CUISINES),
    "dish": list(food.DISHES),
    "kind": list(food.KINDS),
    "food": food.INGREDIENTS,
    "foods": [things.plural(word) for word in food.INGREDIENTS],
    "drink": food.DRINKS,
    "animal": things.ANIMALS,
    "animals": [things.plural(word) for word in things.ANIMALS],
    "tool": things.TOOLS,
    "tools": [things.plural(word) for word in things.TOOLS],
    "furniture": things.FURNITURE,
    "material": things.MATERIALS,
    "site": things.SITES,
    "sites": [things.plural(word) for word in things.SITES],
    "job": things.JOBS,
    "jobs": [things.plural(word) for word in things.JOBS],
    "plant": things.PLANTS,
    "plants": [things.plural(word) for word in things.PLANTS],
    "idea": things.ABSTRACT,
    "body": things.BODY,
    "vehicle": things.VEHICLES,
    "clothes": things.CLOTHES,
    "subject": things.SUBJECTS,
    "colour": things.COLOURS,
    "weather": things.WEATHER,
    "month": things.MONTHS,
    "day": things.DAYS,
    "season": things.SEASONS,
    "book": things.BOOK_SORTS,
    "group": things.GROUPS,
    "noun": _NOUNS,
    "nouns": [things.plural(word) for word in _NOUNS],
    "kindly": describing.PEOPLE_ADJECTIVES,
    "adj": describing.THING_ADJECTIVES,
    "placid": describing.PLACE_ADJECTIVES,
    "how": describing.MANNER,
    "often": describing.FREQUENCY,
    "degree": describing.DEGREE,
    "feeling": describing.FEELINGS,
    "when": list(describing.TIMES),
    "where": list(describing.PLACES),
    "ordinal": describing.ORDINALS,
    "few": describing.NUMBER_WORDS[1:12],
    "count": [str(number) for number in range(2, 100)],
    "hundreds": [str(number) for number in range(100, 1000)],
    "year": [str(year) for year in range(1620, 2024)],
    "date": [str(day) for day in range(1, 29)],
    "hour": [str(hour) for hour in range(1, 13)],
    "price": list(food.PRICES),
    "do": [verb.base for verb in doing.TRANSITIVE],
    "does": [verb.third for verb in doing.TRANSITIVE],
    "did": [verb.past for verb in doing.TRANSITIVE],
    "doing": [verb.ing for verb in doing.TRANSITIVE],
    "act": [verb.base for verb in doing.INTRANSITIVE],
    "acts": [verb.third for verb in doing.INTRANSITIVE],
    "acted": [verb.past for verb in doing.INTRANSITIVE],
    "acting": [verb.ing for verb in doing.INTRANSITIVE],
}

_HOLE = re.compile(r"\{(\w+)(?::(\w+))?\}")
_ARTICLE = re.compile(r"\b([Aa]) (?=[AEIOUaeio](?!ne\b)|un(?!i)|u[^ns]|hour|honest)")


class Template:
    """One sentence; `holes` are the names of its holes."""

    def __init__(self, text: str) -> None:
        self.text = text
        pieces = _HOLE.split(text)
        self._parts = [
            (pieces[index], pieces[index + 1], f"{pieces[index + 1]}:{pieces[index + 2]}" if pieces[index + 2] else "")
            for index in range(0, len(pieces) - 1, 3)
        ]
        self._tail = pieces[-1]
        self.holes = frozenset(hole for _, hole, _ in self._parts)

    def fill(self, rng: random.Random, bound: dict[str, str]) -> str:
        """The sentence with its first letter raised; labelled holes are added to `bound`."""
        out = []
        for literal, hole, label in self._parts:
            value = bound.get(label or hole)
            if value is None:
                words = LEXICON[hole]
                value = words[int(rng.random() * len(words))]
                if label:
                    bound[label] = value
            out.append(literal)
            out.append(value)
        out.append(self._tail)
        sentence = "".join(out)
        return sentence[0].upper() + sentence[1:]


def compiled(text: str) -> list[Template]:
    """A template for each line of the text that is not blank."""
    return [Template(line.strip()) for line in text.strip().splitlines() if line.strip()]


def with_articles(text: str) -> str:
    """The text with "a" turned to "an" before a vowel sound."""
    return _ARTICLE.sub(r"\1n ", text)


def fill_some(rng: random.Random, templates: list[Template], bound: dict[str, str], *, num: int) -> list[str]:
    """Sentences from `num` different templates, in the order of the templates."""
    chosen = sorted((rng.random(), index) for index in range(len(templates)))[:num]
    return [templates[index].fill(rng, bound) for index in sorted(index for _, index in chosen)]
