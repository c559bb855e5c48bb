"""Word problems, generated: a question becomes its steps and '#### answer'."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from tunelab.contracts import Task
from tunelab.data.examples.fingerprint import of_generator, row_options
from tunelab.data.examples.formats import TemplateText, format_rows
from tunelab.data.examples.rehearsal import with_fewer_rows
from tunelab.data.synthetic import arithmetic
from tunelab.records import Example


class Arithmetic(Task):
    name: str = "arithmetic"

    prompt: TemplateText = "{question}\n"
    """What the model reads."""

    target: TemplateText = "{answer}"
    """What it learns to write."""

    train_rows: PositiveInt = 3000
    validation_rows: PositiveInt = 300
    test_rows: PositiveInt = 300
    """Rows with the same question are one example."""

    seed: NonNegativeInt = 0
    """Of the generated rows. The same for every seed of the study."""

    metrics: tuple[str, ...] = ("exact_match",)

    def examples(self, split: Literal["train", "validation", "test"]) -> list[Example]:
        num_rows = {"train": self.train_rows, "validation": self.validation_rows, "test": self.test_rows}[split]
        formatted = format_rows(
            arithmetic.rows(split=split, n=num_rows, seed=self.seed),
            prompt=self.prompt,
            target=self.target,
            split=split,
            source=f"{self.name} ({split})",
            group=split == "test",
        )
        return formatted.examples

    def rehearsal(self, folder: Path) -> Arithmetic:
        return with_fewer_rows(self, train="train_rows", scored=("validation_rows", "test_rows"))

    def fingerprint(self) -> str:
        return of_generator(arithmetic, options=row_options(self))
