"""Short news of three to five sentences and a headline for each; facts decide the split, the wording is drawn."""

import random
from itertools import count, islice

from tunelab.data.synthetic.draw import check_split, generator, pick, split_of
from tunelab.data.synthetic.headline_events import ASIDES, EVENTS
from tunelab.data.synthetic.templates import LEXICON, fill_some, with_articles

_FACTS = ("town", "job", "surname", "animal", "tool", "site", "count", "food", "month", "street")


def rows(*, split: str, n: int, seed: int) -> list[dict]:
    """The first n rows {"article", "headline"} of a split; a shorter request is a prefix of a longer one."""
    check_split(split)
    return [_row(generator("headlines", seed, split, number), split) for number in islice(count(), n)]


def _row(rng: random.Random, split: str) -> dict:
    while True:
        name = pick(rng, tuple(EVENTS))
        facts = {hole: pick(rng, LEXICON[hole]) for hole in _FACTS}
        if split_of("headlines", name, facts["town"], *(facts[hole] for hole in EVENTS[name].key)) == split:
            break
    event = EVENTS[name]
    sentences = [
        pick(rng, event.leads).fill(rng, facts),
        *fill_some(rng, event.details, facts, num=1 + int(rng.random() * 2)),
        *fill_some(rng, ASIDES, facts, num=1 + int(rng.random() * 2)),
    ]
    headline = pick(rng, event.headlines).fill(rng, facts)
    return {"article": with_articles(" ".join(sentences)), "headline": with_articles(headline)}
