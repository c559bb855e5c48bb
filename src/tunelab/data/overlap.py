"""Test rows that also stand in train: exact matches of normalised text, counted before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tunelab.records import Example


class Overlap(NamedTuple):
    num_test: int
    num_same_row: int
    """Test examples of which prompt and one reference together are a row of train."""
    num_same_prompt: int | None
    """Test examples whose prompt is a prompt of train; None for plain text, which has no prompts."""

    @property
    def share_same_row(self) -> float:
        return self.num_same_row / self.num_test

    @property
    def share_same_prompt(self) -> float | None:
        return None if self.num_same_prompt is None else self.num_same_prompt / self.num_test


def find_overlap(train: Sequence[Example], test: Sequence[Example]) -> Overlap:
    """Texts are compared without regard to case and to the amount of whitespace. `test` is not empty."""
    assert test, "find_overlap needs test examples"
    rows = {(_normal(example.prompt), _normal(text)) for example in train for text in _texts(example)}
    prompts = {prompt for prompt, _ in rows if prompt}
    num_same_row = sum(
        any((_normal(example.prompt), _normal(text)) in rows for text in _texts(example)) for example in test
    )
    has_prompts = any(example.prompt.strip() for example in test)
    num_same_prompt = sum(_normal(example.prompt) in prompts for example in test) if has_prompts else None
    return Overlap(len(test), num_same_row, num_same_prompt)


def _texts(example: Example) -> tuple[str, ...]:
    return example.references or (example.target,)


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())
