"""Text pairs, generated: what the embedded encoder-decoder is pretrained on.

With `model: {initialize: random}` this rebuilds an embedded base model. Nothing else is trained on these rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from tunelab.contracts import Task
from tunelab.data.examples.fingerprint import of_generator, row_options
from tunelab.data.examples.formats import TemplateText, format_rows
from tunelab.data.examples.rehearsal import with_fewer_rows
from tunelab.data.synthetic import pretraining
from tunelab.records import Example

START = {"train": 0, "validation": 1_000_000_000, "test": 2_000_000_000}
"""Number of a split's first pair: far apart, so that no split grows into the next."""


class PretrainingPairs(Task):
    name: str = "pretraining_pairs"

    prompt: TemplateText = "{source}"
    """What the model reads; a decoder-only model wants a line end between source and target."""

    pairs: PositiveInt = 100000
    """Pairs to train on; a smaller number gives the first of a larger one."""

    validation_pairs: PositiveInt = 500
    test_pairs: PositiveInt = 500

    seed: NonNegativeInt = 0
    """Of the generated text."""

    metrics: tuple[str, ...] = ("perplexity", "bits_per_token")

    def examples(self, split: Literal["train", "validation", "test"]) -> Sequence[Example]:
        number = {"train": self.pairs, "validation": self.validation_pairs, "test": self.test_pairs}[split]
        rows = list(islice(pretraining.iterate_pairs(seed=self.seed, start=START[split]), number))
        return format_rows(rows, prompt=self.prompt, target="{target}", split=split, source=self.name).examples

    def rehearsal(self, folder: Path) -> PretrainingPairs:
        return with_fewer_rows(self, train="pairs", scored=("validation_pairs", "test_pairs"))

    def fingerprint(self) -> str:
        return of_generator(pretraining, options=row_options(self))
