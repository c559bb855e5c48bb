"""Tokens and n-gram matches of the E2E challenge script in its two dialects: mteval-v13a in perl, and a python port.

Both normalise a text alike (`<skipped>` and four entities, punctuation, then . and , away from digits, then a dash
after a digit) and ignore case. They differ where it shows:

    |                     | perl                                   | python                                       |
    | white space         | collapsed first                        | line breaks joined, `-` at a line's end lost |
    | case                | A-Z only                               | all letters                                  |
    | a text without word | no token                               | one empty token                              |
    | n-grams of a text   | tokens - n + 1, at least 0             | tokens - n + 1, also below 0                 |
    | reference length    | closest, empty ones left out but first | closest                                      |

Sources: tuetschek/e2e-metrics 1b9c4d8, mteval/mteval-v13a-sig.pl lines 740-847 and 941-985; its pymteval.py, lines
50-116 and 147-185. Compared with both programs in tests/metrics/test_mteval.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from tunelab.evaluation.ngrams import Counted, Lookup, count_ngrams
from tunelab.records import Prediction

Dialect = Literal["perl", "python"]

# What \s is in perl's character strings; Python's has the separators \x1c-\x1f as well.
PERL_SPACE = "[\t\n\x0b\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"
SPACES = {"perl": re.compile(PERL_SPACE), "python": re.compile(r"\s+")}
ENTITIES = (("<skipped>", ""), ("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
SPLITS = (
    (re.compile(r"([{-~\[-` -&(-+:-@/])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class Corpus(NamedTuple):
    """Examples as tokens."""

    outputs: list[list[str]]
    references: list[list[list[str]]]
    """Of each example."""
    dialect: Dialect


class OrderMatches(NamedTuple):
    """What the outputs share with their references in one order of n-grams."""

    outputs: Counted
    """Which text is which example."""
    hits: np.ndarray
    """Per entry of `outputs`: its count, but at most that of the reference that has most."""
    references: Counted
    """Of all references."""


class Matches(NamedTuple):
    words: dict[str, int]
    """Word -> its number as an n-gram of order 1."""
    orders: list[OrderMatches]


def corpus(name: str, predictions: Sequence[Prediction], dialect: Dialect) -> Corpus:
    """The examples' tokens; `name` is the metric's."""
    for row in predictions:
        assert row.prediction is not None, f"example {row.id}: {name} needs generated text"
        assert row.references, f"example {row.id}: {name} needs a reference"
    to_tokens = perl_tokens if dialect == "perl" else python_tokens
    return Corpus(
        [to_tokens(row.prediction) for row in predictions],
        [[to_tokens(text) for text in row.references] for row in predictions],
        dialect,
    )


@lru_cache(maxsize=2**16)
def perl_tokens(text: str) -> list[str]:
    text = _split(SPACES["perl"].sub(" ", text.strip())).translate(ASCII_LOWER)
    text = SPACES["perl"].sub(" ", text).strip(" ")
    return text.split(" ") if text else []


@lru_cache(maxsize=2**16)
def python_tokens(text: str) -> list[str]:
    text = _split(text.strip().replace("<skipped>", "").replace("-\n", "").replace("\n", " "))
    return SPACES["python"].sub(" ", text).strip().lower().split(" ")


def _split(text: str) -> str:
    for entity, meaning in ENTITIES:
        text = text.replace(entity, meaning)
    text = f" {text} "
    for pattern, spaced in SPLITS:
        text = pattern.sub(spaced, text)
    return text


def matches(texts: Corpus, max_order: int) -> Matches:
    """For orders 1 to `max_order`."""
    references = [tokens for example in texts.references for tokens in example]
    examples = np.arange(len(texts.outputs))
    num_references = np.array([len(example) for example in texts.references], dtype=np.int64)
    example_of = np.concatenate([examples, np.repeat(examples, num_references)])
    counts, found = count_ngrams([*texts.outputs, *references], max_order), []
    for counted in counts.orders:
        is_output = counted.text < len(texts.outputs)
        ours, theirs = counted.of(is_output), counted.of(~is_output)
        most = Lookup(example_of[theirs.text], theirs, theirs.count).values(ours.text, ours.ngram)
        found.append(OrderMatches(ours, np.minimum(ours.count, most), theirs))
    return Matches(counts.words, found)


def num_ngrams(texts: Corpus, max_order: int) -> np.ndarray:
    """N x `max_order`: n-grams of each output."""
    lengths = np.array([len(tokens) for tokens in texts.outputs], dtype=np.float64)
    counted = lengths[:, None] - np.arange(max_order)
    return np.maximum(counted, 0) if texts.dialect == "perl" else counted


def closest_length(output: Sequence[str], references: Sequence[Sequence[str]], dialect: Dialect) -> int:
    """Length of the reference nearest in length to the output, the shorter of two."""
    first, *others = map(len, references)
    if dialect == "perl":
        others = [length for length in others if length]
    return min([first, *others], key=lambda length: (abs(length - len(output)), length))
