"""Data-to-text: a record about a place to eat, and one of very many ways to say it.

A meaning is a line of `slot = value` pairs; the text is worded by the house style in restaurant_wording.py. The visible
(kind, cuisine, price, area) of a meaning belongs to exactly one split, so no test meaning can occur in training.
"""

import random
import re
from itertools import count, islice

from tunelab.data.synthetic import restaurant_wording
from tunelab.data.synthetic.draw import check_split, generator, pick, share, shuffled, split_of, weighted
from tunelab.data.synthetic.lexicon import food, names

SLOTS = ("name", "kind", "cuisine", "dish", "price", "rating", "area", "near", "children")
COMBINATION = ("kind", "cuisine", "price", "area")
REFERENCES = {"train": 1, "validation": 3, "test": 3}
"""Rows that share one meaning, by split."""

_NUM_SLOTS = ((1, 3), (2, 4), (3, 5), (4, 6), (4, 7), (3, 8))


def rows(*, split: str, n: int, seed: int) -> list[dict]:
    """The first n rows {"meaning", "text"} of a split; a shorter request is a prefix of a longer one."""
    check_split(split)
    return list(islice(_rows(split, seed), n))


def _rows(split: str, seed: int):
    for number in count():
        rng = generator("restaurants", seed, split, number)
        facts = _facts(rng, split)
        meaning = linearise(facts)
        seen: set[str] = set()
        for _ in range(REFERENCES[split]):
            text = restaurant_wording.describe(facts, rng)
            for _ in range(8):
                if text not in seen:
                    break
                text = restaurant_wording.describe(facts, rng)
            seen.add(text)
            yield {"meaning": meaning, "text": text}


def linearise(facts: dict[str, str]) -> str:
    """`name = The Copper Kettle ; kind = bistro ; ...` in the order of the facts."""
    return " ; ".join(f"{slot} = {value}" for slot, value in facts.items())


def parse(meaning: str) -> dict[str, str]:
    """The facts of a linearised meaning."""
    return dict(pair.split(" = ", 1) for pair in meaning.split(" ; "))


def combination(facts: dict[str, str]) -> tuple[str, ...]:
    """What decides the split: the visible kind, cuisine, price and area, with "-" for a slot that is not shown."""
    return tuple(facts.get(slot, "-") for slot in COMBINATION)


def is_test_only(name: str) -> bool:
    """Whether a restaurant's name is kept for the test split (about one name in five)."""
    return share("restaurant name", name) < 0.2


def _facts(rng: random.Random, split: str) -> dict[str, str]:
    while True:
        facts = _any_facts(rng)
        if split_of("restaurants", *combination(facts)) != split:
            continue
        while split != "test" and is_test_only(facts["name"]):
            facts["name"] = _name(rng)
        return facts


def _any_facts(rng: random.Random) -> dict[str, str]:
    cuisine = pick(rng, food.CUISINES)
    everything = {
        "name": _name(rng),
        "kind": pick(rng, food.KINDS),
        "cuisine": cuisine,
        "dish": pick(rng, food.DISHES_BY_CUISINE[cuisine]),
        "price": pick(rng, food.PRICES),
        "rating": f"{pick(rng, (1, 2, 3, 4, 4, 5))} of 5",
        "area": pick(rng, names.AREAS),
        "near": pick(rng, names.LANDMARKS),
        "children": pick(rng, ("welcome", "no")),
    }
    optional = shuffled(rng, SLOTS[2:])[: weighted(rng, _NUM_SLOTS) - 2]
    return {slot: everything[slot] for slot in shuffled(rng, ["name", "kind", *optional])}


def _name(rng: random.Random) -> str:
    form = rng.random()
    if form < 0.6:
        return f"The {pick(rng, food.NAME_ADJECTIVES)} {pick(rng, food.NAME_NOUNS)}"
    if form < 0.75:
        return f"{pick(rng, names.WOMEN + names.MEN)}'s {pick(rng, food.NAME_ROOMS)}"
    if form < 0.9:
        first, second = shuffled(rng, food.NAME_NOUNS)[:2]
        return f"{first} and {second}"
    return f"{pick(rng, names.STREET_NAMES)} {pick(rng, names.STREET_TYPES)} {pick(rng, food.NAME_ROOMS)}"


_VALUE_WORDS = frozenset(
    word.lower()
    for value in (
        *food.CUISINES,
        *food.DISHES,
        *food.KINDS,
        *food.NAME_ADJECTIVES,
        *food.NAME_NOUNS,
        *food.NAME_ROOMS,
        *names.AREAS,
        *(mark.removeprefix("the ") for mark in names.LANDMARKS),
        *names.WOMEN,
        *names.MEN,
        *names.STREET_NAMES,
        *names.STREET_TYPES,
    )
    for word in value.split()
)
_TOKEN = re.compile(r"[A-Za-z]+|\d+|[^\sA-Za-z\d]")


def delexicalise(text: str) -> str:
    """The form of a sentence: each run of numbers, names and words that can be slot values becomes one `_`.

    Works without the meaning, so that any two texts can be compared; it merges forms rather than inventing them.
    """
    form: list[str] = []
    for token in _TOKEN.findall(text.replace("'s ", " ")):
        hidden = token.isdigit() or token.lower() in _VALUE_WORDS
        if not hidden:
            form.append(token.lower())
        elif not form or form[-1] != "_":
            form.append("_")
    return " ".join(form).replace("_ and _", "_").replace("the _", "_")
