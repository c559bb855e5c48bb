"""The text that the embedded base models are pretrained on: documents for the causal one, pairs for the other.

Seven kinds of text share their words with the fine-tuning tasks and none of their sentences; a test compares the
forms.
"""

import random
from collections.abc import Iterator
from itertools import count, islice

from tunelab.data.synthetic.draw import generator, pick, shuffled, weighted
from tunelab.data.synthetic.genres import dialogues, lists, news, portraits, records, stories, sums
from tunelab.data.synthetic.templates import with_articles

_MIX = (
    (35, records.document),
    (16, stories.document),
    (15, portraits.document),
    (10, news.document),
    (9, dialogues.document),
    (8, sums.document),
    (7, lists.document),
)
_PROSE = (stories.document, portraits.document, news.document)


def documents(*, n: int, seed: int) -> list[str]:
    """The first n documents; a smaller n gives a prefix of a larger one."""
    return list(islice(iterate(seed=seed), n))


def iterate(*, seed: int, start: int = 0) -> Iterator[str]:
    """Documents without end, from number `start` on."""
    for number in count(start):
        rng = generator("documents", seed, number)
        yield weighted(rng, _MIX)(rng)


def pairs(*, n: int, seed: int) -> list[dict]:
    """The first n pairs {"source", "target"} for a model that reads one text and writes another."""
    return list(islice(iterate_pairs(seed=seed), n))


def iterate_pairs(*, seed: int, start: int = 0) -> Iterator[dict]:
    """Pairs without end, from number `start` on."""
    for number in count(start):
        rng = generator("pairs", seed, number)
        yield weighted(rng, _PAIR_MIX)(rng)


def _record_to_prose(rng: random.Random) -> dict:
    made = records.record(rng, most_slots=7)
    return {"source": records.lay_out(rng, made.facts), "target": made.prose}


def _sentences(rng: random.Random, *, most: int) -> list[str]:
    sentences = pick(rng, _PROSE)(rng).replace("\n", " ").split(". ")
    return [f"{sentence.rstrip('.')}." for sentence in sentences[:most]]


def _unshuffle(rng: random.Random) -> dict:
    words = pick(rng, _sentences(rng, most=6)).split()
    return {"source": "order the words: " + " ".join(shuffled(rng, words)), "target": " ".join(words)}


def _missing_span(rng: random.Random) -> dict:
    words = " ".join(_sentences(rng, most=4)).split()
    length = 1 + int(rng.random() * 6)
    start = int(rng.random() * max(1, len(words) - length))
    shown = [*words[:start], "___", *words[start + length :]]
    return {"source": "fill the gap: " + " ".join(shown[:70]), "target": " ".join(words[start : start + length])}


def _restore(rng: random.Random) -> dict:
    """Words dropped from a passage; the target is the whole passage."""
    words = " ".join(_sentences(rng, most=2)).split()
    kept = [word for word in words if rng.random() > 0.25]
    return {"source": "complete: " + " ".join(kept), "target": " ".join(words)}


def _sum(rng: random.Random) -> dict:
    a, b = 1 + int(rng.random() * 50), 1 + int(rng.random() * 50)
    if rng.random() < 0.5:
        return {"source": f"work out: {a} + {b}", "target": str(a + b)}
    return {"source": f"work out: {a + b} - {b}", "target": str(a)}


def _first_sentence(rng: random.Random) -> dict:
    """A passage and the sentence it begins with: where the gist of a report stands."""
    sentences = _sentences(rng, most=4)
    return {"source": with_articles("first sentence: " + " ".join(sentences)), "target": sentences[0]}


_PAIR_MIX = (
    (50, _record_to_prose),
    (10, _unshuffle),
    (18, _missing_span),
    (12, _restore),
    (5, _sum),
    (5, _first_sentence),
)
