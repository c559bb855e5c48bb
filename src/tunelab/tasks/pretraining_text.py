"""Plain text, generated: what the embedded causal model is pretrained on.

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
from tunelab.data.examples.formats import format_rows
from tunelab.data.examples.rehearsal import with_fewer_rows
from tunelab.data.synthetic import pretraining
from tunelab.records import Example

START = {"train": 0, "validation": 1_000_000_000, "test": 2_000_000_000}
"""Number of a split's first document: far apart, so that no split grows into the next."""


class PretrainingText(Task):
    name: str = "pretraining_text"

    documents: PositiveInt = 100000
    """Documents to train on; a smaller number gives the first of a larger one."""

    validation_documents: PositiveInt = 500
    test_documents: PositiveInt = 500

    seed: NonNegativeInt = 0
    """Of the generated text."""

    metrics: tuple[str, ...] = ("perplexity", "bits_per_token")

    def examples(self, split: Literal["train", "validation", "test"]) -> Sequence[Example]:
        number = {"train": self.documents, "validation": self.validation_documents, "test": self.test_documents}[split]
        rows = [{"text": text} for text in islice(pretraining.iterate(seed=self.seed, start=START[split]), number)]
        return format_rows(rows, prompt=None, target="{text}", split=split, source=self.name).examples

    def rehearsal(self, folder: Path) -> PretrainingText:
        return with_fewer_rows(self, train="documents", scored=("validation_documents", "test_documents"))

    def fingerprint(self) -> str:
        return of_generator(pretraining, options=row_options(self))
