"""Summarisation for encoder-decoders: T5's prefix, on CNN/DailyMail, XSum, News Summary or SAMSum dialogues.

The prefix is that of Raffel et al. 2020 (arXiv:1910.10683); a causal model gets a task of its own, news_summary.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import NonNegativeInt, PositiveInt
from typing_extensions import Self

from tunelab.contracts import Task
from tunelab.data.examples.fingerprint import fingerprint, row_options
from tunelab.data.examples.formats import format_rows, rows_with
from tunelab.data.examples.readable import unreadable
from tunelab.data.examples.rehearsal import SCORED_ROWS, TRAIN_ROWS
from tunelab.data.reading.rows import Row
from tunelab.data.sets.named import source_fingerprint, source_rows, write_generated
from tunelab.records import Example

Split = Literal["train", "validation", "test"]


class Columns(NamedTuple):
    document: str
    summary: str


COLUMNS = {
    "cnn_dailymail": Columns("article", "highlights"),
    "xsum": Columns("document", "summary"),
    "news_summary": Columns("ctext", "headlines"),
    "samsum": Columns("dialogue", "summary"),
}


class Summarize(Task):
    name: str = "summarize"

    source: Literal["cnn_dailymail", "xsum", "news_summary", "samsum"] = "samsum"
    """Which data set."""

    path: Path | None = None
    """Its files on this machine (`tunelab show --rows SOURCE` says which); null: the hub."""

    prefix: str = "summarize: "
    """Before every document."""

    train_rows: PositiveInt | None = None
    """Train on so many rows, drawn by `seed`; null: all."""

    validation_rows: PositiveInt | None = 500
    """The same for validation."""

    test_rows: PositiveInt | None = None
    """The same for test."""

    seed: NonNegativeInt = 0
    """Which rows are drawn."""

    metrics: tuple[str, ...] = ("rouge_1", "rouge_2", "rouge_l")

    def examples(self, split: Split) -> Sequence[Example]:
        columns, prefix = COLUMNS[self.source], self.prefix.replace("{", "{{").replace("}", "}}")
        formatted = format_rows(
            rows_with(self._rows(split), columns.document),
            prompt=f"{prefix}{{{columns.document}}}",
            target=f"{{{columns.summary}}}",
            split=split,
            source=f"{self.path or self.source} ({split})",
            group=split == "test",
        )
        return formatted.examples

    def problems(self) -> list[str]:
        return [] if self.path is None else unreadable(self)

    def notes(self, split: Split) -> list[str]:
        rows, wanted = self._rows(split), self._wanted(split)
        empty = len(rows) - len(rows_with(rows, COLUMNS[self.source].document))
        notes = [f"{split}: {empty} of {len(rows)} rows left out, their document is empty"] if empty else []
        drawn = [f"{split}: at most {wanted} rows of {self.source}, drawn by seed {self.seed}"]
        return notes if wanted is None else notes + drawn

    def fingerprint(self) -> str:
        rows = source_fingerprint(self.source, path=self.path)
        return fingerprint(options={**row_options(self, leave_out=("path",)), "rows": rows})

    def rehearsal(self, folder: Path) -> Self:
        write_generated(self.source, folder, rows=2 * TRAIN_ROWS)
        fewer = {"train_rows": TRAIN_ROWS, "validation_rows": SCORED_ROWS, "test_rows": SCORED_ROWS}
        return self.model_copy(update={"path": folder, **fewer})

    def _wanted(self, split: Split) -> int | None:
        return {"train": self.train_rows, "validation": self.validation_rows, "test": self.test_rows}[split]

    def _rows(self, split: Split) -> Sequence[Row]:
        return source_rows(self.source, split, path=self.path, n=self._wanted(split), seed=self.seed)
