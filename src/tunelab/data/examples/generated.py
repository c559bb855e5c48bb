"""A task on generated rows: what those of `data/synthetic/` share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import ClassVar, Literal

from pydantic import NonNegativeInt, PositiveInt
from typing_extensions import Self

from tunelab.contracts import Task
from tunelab.data.examples.fingerprint import of_generator, row_options
from tunelab.data.examples.formats import TemplateText, format_rows
from tunelab.data.examples.rehearsal import with_fewer_rows
from tunelab.records import Example


class GeneratedTask(Task):
    generator: ClassVar[ModuleType]
    """Its `rows(split, n, seed)` are the task's."""

    prompt: TemplateText
    """What the model reads."""

    target: TemplateText
    """What it learns to write."""

    train_rows: PositiveInt = 3000
    validation_rows: PositiveInt = 300
    test_rows: PositiveInt = 300
    """Rows with the same prompt are one example."""

    seed: NonNegativeInt = 0
    """Of the generated rows. The same for every seed of the study."""

    def examples(self, split: Literal["train", "validation", "test"]) -> Sequence[Example]:
        num_rows = {"train": self.train_rows, "validation": self.validation_rows, "test": self.test_rows}[split]
        formatted = format_rows(
            self.generator.rows(split=split, n=num_rows, seed=self.seed),
            prompt=self.prompt,
            target=self.target,
            split=split,
            source=f"{self.name} ({split})",
            group=split == "test",
        )
        return formatted.examples

    def rehearsal(self, folder: Path) -> Self:
        return with_fewer_rows(self, train="train_rows", scored=("validation_rows", "test_rows"))

    def fingerprint(self) -> str:
        return of_generator(self.generator, options=row_options(self))
