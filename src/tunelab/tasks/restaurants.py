"""Data-to-text, generated: a record about a place to eat becomes a few sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from tunelab.contracts import Task
from tunelab.data.examples.fingerprint import of_generator, row_options
from tunelab.data.examples.formats import TemplateText, format_rows
from tunelab.data.examples.rehearsal import with_fewer_rows
from tunelab.data.synthetic import restaurants
from tunelab.records import Example


class Restaurants(Task):
    name: str = "restaurants"

    prompt: TemplateText = "{meaning}\n"
    """What the model reads."""

    target: TemplateText = "{text}"
    """What it learns to write."""

    train_rows: PositiveInt = 3000
    validation_rows: PositiveInt = 300
    test_rows: PositiveInt = 600
    """Three rows share a meaning, so that 600 rows are 200 examples with three references each."""

    seed: NonNegativeInt = 0
    """Of the generated rows. The same for every seed of the study."""

    metrics: tuple[str, ...] = ("bleu", "rouge_l")

    def examples(self, split: Literal["train", "validation", "test"]) -> list[Example]:
        num_rows = {"train": self.train_rows, "validation": self.validation_rows, "test": self.test_rows}[split]
        formatted = format_rows(
            restaurants.rows(split=split, n=num_rows, seed=self.seed),
            prompt=self.prompt,
            target=self.target,
            split=split,
            source=f"{self.name} ({split})",
            group=split == "test",
        )
        return formatted.examples

    def rehearsal(self, folder: Path) -> Restaurants:
        return with_fewer_rows(self, train="train_rows", scored=("validation_rows", "test_rows"))

    def fingerprint(self) -> str:
        return of_generator(restaurants, options=row_options(self))
