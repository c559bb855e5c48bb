"""A record and the prose that says it: the models learn to copy values from a list of keys into sentences.

A kind of record is its slots and sentence templates. Sentences are drawn until every slot is said; a template may say
several slots at once, and which ones it says is read off its holes.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

from tunelab.data.synthetic.draw import pick, shuffled
from tunelab.data.synthetic.genres.record_sentences import SENTENCES
from tunelab.data.synthetic.lexicon import food, names
from tunelab.data.synthetic.templates import LEXICON, Template, with_articles

Draw = Callable[[random.Random], str]


class RecordKind(NamedTuple):
    slots: dict[str, Draw]
    """How each slot's value is drawn; the first slot is the title, which every record has."""
    openings: list[tuple[int, Template]]
    """(slots said, as bits) and the template, for sentences that name the title."""
    continuations: list[tuple[int, Template]]
    """The same for sentences that do not."""


class Record(NamedTuple):
    facts: dict[str, str]
    prose: str


def _from(hole: str, prefix: str = "", suffix: str = "") -> Draw:
    words = LEXICON[hole]
    return lambda rng: f"{prefix}{pick(rng, words)}{suffix}"


def _number(low: int, high: int, suffix: str = "") -> Draw:
    return lambda rng: f"{low + int(rng.random() * (high - low))}{suffix}"


def _full_name(rng: random.Random) -> str:
    return f"{pick(rng, LEXICON['person'])} {pick(rng, names.SURNAMES)}"


def _house_name(rng: random.Random) -> str:
    form = rng.random()
    first, second = pick(rng, food.NAME_ADJECTIVES), pick(rng, food.NAME_NOUNS)
    if form < 0.5:
        return f"The {first} {second}"
    if form < 0.7:
        return f"{pick(rng, LEXICON['person'])}'s {pick(rng, food.NAME_ROOMS)}"
    if form < 0.85:
        return f"{second} and {pick(rng, food.NAME_NOUNS)}"
    return f"{pick(rng, LEXICON['street'])} {pick(rng, food.NAME_ROOMS)}"


def _work_title(rng: random.Random) -> str:
    return f"The {pick(rng, LEXICON['noun']).title()} of {pick(rng, names.TOWNS)}"


_SLOTS: dict[str, dict[str, Draw]] = {
    "eatery": {
        "title": _house_name,
        "type": _from("kind"),
        "food": _from("cuisine"),
        "speciality": _from("dish"),
        "cost": _from("price"),
        "stars": lambda rng: f"{1 + int(rng.random() * 5)} of 5",
        "district": _from("area"),
        "beside": _from("landmark"),
        "kids": lambda rng: pick(rng, ("yes", "no")),
        "owner": _from("person"),
        "seats": _from("count"),
    },
    "person": {
        "full name": _full_name,
        "job": _from("job"),
        "born": _from("year"),
        "home": _from("town"),
        "studied": _from("subject"),
        "nature": _from("kindly"),
        "pet": _from("animal"),
        "hobby": _from("acting"),
        "likes": _from("dish"),
    },
    "town": {
        "town": _from("town"),
        "river": _from("river"),
        "founded": _from("year"),
        "people": _number(200, 90000),
        "sight": _from("site"),
        "character": _from("placid"),
        "trade": _from("material"),
        "market": _from("day"),
        "mayor": _full_name,
    },
    "shop": {
        "shop": lambda rng: f"{pick(rng, names.SURNAMES)} and {pick(rng, names.SURNAMES)}",
        "street": _from("street"),
        "goods": _from("tools"),
        "opened": _from("year"),
        "closed": _from("day"),
        "staff": _from("few"),
        "colour": _from("colour"),
    },
    "book": {
        "book": _work_title,
        "author": _full_name,
        "sort": _from("book"),
        "year": _from("year"),
        "pages": _from("hundreds"),
        "hero": _from("job"),
        "theme": _from("idea"),
        "cover": _from("colour"),
    },
    "animal": {
        "animal": lambda rng: f"{pick(rng, LEXICON['colour'])} {pick(rng, LEXICON['animal'])}",
        "eats": _from("foods"),
        "lives": _from("where"),
        "weight": _from("count", suffix=" kilograms"),
        "mood": _from("kindly"),
        "active": _from("season"),
        "fears": _from("animals"),
    },
    "thing": {
        "item": lambda rng: f"{pick(rng, LEXICON['adj'])} {pick(rng, LEXICON['tool'])}",
        "made of": _from("material"),
        "colour": _from("colour"),
        "price": _from("count", suffix=" coins"),
        "maker": _from("surname"),
        "found": _from("where"),
        "age": _from("count", suffix=" years"),
    },
    "journey": {
        "train": lambda rng: f"number {pick(rng, LEXICON['hundreds'])}",
        "from": _from("town"),
        "to": _from("town"),
        "leaves": _from("hour", suffix=" o'clock"),
        "takes": _from("count", suffix=" minutes"),
        "platform": _from("few"),
        "day": _from("day"),
        "driver": _from("surname"),
    },
    "event": {
        "event": lambda rng: f"{pick(rng, names.TOWNS)} {pick(rng, LEXICON['idea']).title()} Festival",
        "month": _from("month"),
        "place": _from("landmark"),
        "guests": _from("hundreds"),
        "food": _from("dish"),
        "music": _from("group"),
        "ticket": _from("count", suffix=" crowns"),
        "leader": _full_name,
    },
}


def _compile(kind: str) -> RecordKind:
    slots = _SLOTS[kind]
    bit = {slot.replace(" ", "_"): 1 << position for position, slot in enumerate(slots)}
    tagged = [(sum(bit.get(hole, 0) for hole in template.holes), template) for template in SENTENCES[kind]]
    return RecordKind(
        slots=slots,
        openings=[(said & ~1, template) for said, template in tagged if said & 1],
        continuations=[(said, template) for said, template in tagged if not said & 1],
    )


KINDS = {kind: _compile(kind) for kind in _SLOTS}


def record(rng: random.Random, *, most_slots: int = 8) -> Record:
    """Facts of a random kind and prose that says each of them once."""
    name = "eatery" if rng.random() < 0.35 else pick(rng, tuple(KINDS))
    kind = KINDS[name]
    title, *others = kind.slots
    chosen = shuffled(rng, others)[: 1 + int(rng.random() * min(most_slots, len(others)))]
    facts = {slot: kind.slots[slot](rng) for slot in (title, *chosen)}
    position = {slot: index for index, slot in enumerate(kind.slots)}
    left = sum(1 << position[slot] for slot in chosen)
    bound = {slot.replace(" ", "_"): value for slot, value in facts.items()}
    sentences: list[str] = []
    while left:
        pool = kind.openings if not sentences or rng.random() < 0.2 else kind.continuations
        fitting = [entry for entry in pool if entry[0] and not entry[0] & ~left]
        said, template = pick(rng, fitting)
        sentences.append(template.fill(rng, bound))
        left &= ~said
    return Record(facts=facts, prose=with_articles(" ".join(sentences)))


def _semicolons(pairs: list[tuple[str, str]]) -> str:
    return " ; ".join(f"{key} = {value}" for key, value in pairs)


def _lines(pairs: list[tuple[str, str]]) -> str:
    return "\n".join(f"{key}: {value}" for key, value in pairs)


def _bullets(pairs: list[tuple[str, str]]) -> str:
    return "\n".join(f"- {key} = {value}" for key, value in pairs)


def _brackets(pairs: list[tuple[str, str]]) -> str:
    return ", ".join(f"{key} [{value}]" for key, value in pairs)


_LAYOUTS = (_semicolons, _semicolons, _semicolons, _lines, _bullets, _brackets)


def lay_out(rng: random.Random, facts: dict[str, str], *, one_line: bool = False) -> str:
    """The facts as text, in random order and one of several layouts."""
    pairs = shuffled(rng, list(facts.items()))
    return (_semicolons if one_line else pick(rng, _LAYOUTS))(pairs)


def document(rng: random.Random) -> str:
    """One to three records, each followed by its prose."""
    parts = []
    for _ in range(1 + int(rng.random() * 2.5)):
        made = record(rng)
        parts.append(f"{lay_out(rng, made.facts)}\n{made.prose}")
    return "\n\n".join(parts)
