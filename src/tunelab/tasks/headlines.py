"""Summarisation, generated: a short news article becomes its headline."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from tunelab.contracts import Task
from tunelab.data.examples.fingerprint import of_generator, row_options
from tunelab.data.examples.formats import TemplateText, format_rows
from tunelab.data.examples.rehearsal import with_fewer_rows
from tunelab.data.synthetic import headlines
from tunelab.records import Example


class Headlines(Task):
    name: str = "headlines"

    prompt: TemplateText = "{article}\n"
    """What the model reads."""

    target: TemplateText = "{headline}"
    """What it learns to write."""

    train_rows: PositiveInt = 3000
    validation_rows: PositiveInt = 300
    test_rows: PositiveInt = 300
    """Rows with the same article are one example."""

    seed: NonNegativeInt = 0
    """Of the generated rows. The same for every seed of the study."""

    metrics: tuple[str, ...] = ("rouge_l", "bleu")

    def examples(self, split: Literal["train", "validation", "test"]) -> list[Example]:
        num_rows = {"train": self.train_rows, "validation": self.validation_rows, "test": self.test_rows}[split]
        formatted = format_rows(
            headlines.rows(split=split, n=num_rows, seed=self.seed),
            prompt=self.prompt,
            target=self.target,
            split=split,
            source=f"{self.name} ({split})",
            group=split == "test",
        )
        return formatted.examples

    def rehearsal(self, folder: Path) -> Headlines:
        return with_fewer_rows(self, train="train_rows", scored=("validation_rows", "test_rows"))

    def fingerprint(self) -> str:
        return of_generator(headlines, options=row_options(self))
