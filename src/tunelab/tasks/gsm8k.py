"""GSM8K: a word problem becomes a worked answer that ends in '#### number' (Cobbe et al. 2021, arXiv:2110.14168).

7,473 problems to train on, 1,319 to test on (openai/gsm8k, configuration main). Prompts are those of
lm-evaluation-harness: 'Question: ...' and 'Answer:' on the next line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt
from typing_extensions import Self

from tunelab.config.schema import Generation
from tunelab.contracts import Task
from tunelab.data.examples.fingerprint import fingerprint, row_options
from tunelab.data.examples.formats import TemplateText, format_rows
from tunelab.data.examples.readable import unreadable
from tunelab.data.examples.rehearsal import SCORED_ROWS, TRAIN_ROWS
from tunelab.data.examples.splits import draw
from tunelab.data.reading.rows import Row
from tunelab.data.sets.named import source_fingerprint, source_rows, write_generated
from tunelab.records import Example

Split = Literal["train", "validation", "test"]
_ANNOTATION = re.compile(r"<<[^<>]*>>")


class Gsm8k(Task):
    name: str = "gsm8k"

    path: Path | None = None
    """A folder with train.jsonl and test.jsonl of github.com/openai/grade-school-math; null: the hub."""

    annotations: Literal["keep", "strip"] = "keep"
    """The calculator's '<<48/2=24>>' in the answers that are learned."""

    shots: NonNegativeInt = 0
    """Worked examples before each test question, for base models; drawn from train by `seed`. Training sees none."""

    prompt: TemplateText = "Question: {question}\nAnswer:"
    """What the model reads."""

    target: TemplateText = " {answer}"
    """What it learns to write."""

    train_rows: PositiveInt | None = None
    """Train on so many rows, drawn by `seed`; null: all."""

    test_rows: PositiveInt | None = None
    """Test on so many rows, drawn by `seed`; null: all 1,319."""

    seed: NonNegativeInt = 0
    """Which rows are drawn."""

    metrics: tuple[str, ...] = ("gsm8k_exact_match",)
    generation: Generation = Generation(max_new_tokens=256)

    def examples(self, split: Split) -> Sequence[Example]:
        """`validation` is empty: the study holds rows of train out."""
        if split == "validation":
            return []
        examples = self._formatted(split)
        examples = draw(examples, n=self.train_rows if split == "train" else self.test_rows, seed=self.seed)
        if split == "test" and self.shots:
            examples = [example._replace(prompt=self._shots + example.prompt) for example in examples]
        return examples

    def problems(self) -> list[str]:
        return [] if self.path is None else unreadable(self)

    def notes(self, split: Split) -> list[str]:
        wanted = {"train": self.train_rows, "validation": None, "test": self.test_rows}[split]
        drawn = [] if wanted is None else [f"{split}: at most {wanted} examples, drawn by seed {self.seed}"]
        shots = [f"test: {self.shots} worked examples before each question"] if split == "test" and self.shots else []
        return drawn + shots

    def fingerprint(self) -> str:
        rows = source_fingerprint("gsm8k", path=self.path)
        return fingerprint(options={**row_options(self, leave_out=("path",)), "rows": rows})

    def rehearsal(self, folder: Path) -> Self:
        write_generated("gsm8k", folder, rows=2 * TRAIN_ROWS)
        fewer = {"train_rows": TRAIN_ROWS, "test_rows": SCORED_ROWS}
        return self.model_copy(update={"path": folder, **fewer})

    def _formatted(self, split: Split) -> Sequence[Example]:
        rows = [self._row(row) for row in source_rows("gsm8k", split, path=self.path)]
        source = f"{self.path or self.name} ({split})"
        return format_rows(rows, prompt=self.prompt, target=self.target, split=split, source=source).examples

    def _row(self, row: Row) -> Row:
        return row if self.annotations == "keep" else {**row, "answer": _ANNOTATION.sub("", row["answer"])}

    @cached_property
    def _shots(self) -> str:
        worked = draw(self._formatted("train"), n=self.shots, seed=self.seed)
        return "".join(f"{example.prompt}{example.target}\n\n" for example in worked)
