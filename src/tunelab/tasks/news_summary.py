"""News Summary: an Indian news article becomes its headline or a summary of 60 words (Kaggle, sunnysai12345).

4,514 articles with the columns author, date, headlines, read_more, text, ctext; the file is cp1252. There is no
split: rows go to train, validation and test by a hash of their text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt
from typing_extensions import Self

from tunelab.contracts import Task
from tunelab.data.examples.fingerprint import fingerprint, row_options
from tunelab.data.examples.formats import TemplateText, format_rows, rows_with
from tunelab.data.examples.readable import unreadable
from tunelab.data.examples.rehearsal import SCORED_ROWS, TRAIN_ROWS
from tunelab.data.examples.splits import draw
from tunelab.data.reading.rows import Row
from tunelab.data.sets.named import source_fingerprint, source_rows, write_generated
from tunelab.records import Example

Split = Literal["train", "validation", "test"]


class NewsSummary(Task):
    name: str = "news_summary"

    path: Path | None = None
    """The file news_summary.csv, or its folder; null: the hub's copy, where there is one."""

    article: Literal["ctext", "text"] = "ctext"
    """The column that is read: the whole article, or its 60-word summary. Rows without one are left out, counted."""

    summary: Literal["headlines", "text"] = "headlines"
    """The column that is written: the headline, or the summary of 60 words."""

    prompt: TemplateText = "Summarize: {article}\nSummary:"
    """What the model reads, causal or encoder-decoder."""

    target: TemplateText = " {summary}"
    """What it learns to write."""

    train_rows: PositiveInt | None = None
    """Train on so many rows, drawn by `seed`; null: all."""

    validation_rows: PositiveInt | None = None
    """The same for validation."""

    test_rows: PositiveInt | None = None
    """The same for test."""

    seed: NonNegativeInt = 0
    """Which rows are drawn."""

    metrics: tuple[str, ...] = ("rouge_l", "rouge_1", "rouge_2")

    def examples(self, split: Split) -> Sequence[Example]:
        rows = rows_with(self._rows(split), self.article)
        formatted = format_rows(
            [{"article": row[self.article], "summary": row[self.summary]} for row in rows],
            prompt=self.prompt,
            target=self.target,
            split=split,
            source=f"{self.path or self.name} ({split})",
            group=split == "test",
        )
        return draw(formatted.examples, n=self._wanted(split), seed=self.seed)

    def problems(self) -> list[str]:
        if self.article == self.summary:
            return ["article and summary are the same column, 'text'; learn 'headlines' from it, or read 'ctext'"]
        return [] if self.path is None else unreadable(self)

    def notes(self, split: Split) -> list[str]:
        rows = self._rows(split)
        empty = len(rows) - len(rows_with(rows, self.article))
        notes = [f"{split}: {empty} of {len(rows)} rows left out, their article is empty"] if empty else []
        wanted = self._wanted(split)
        return notes + ([] if wanted is None else [f"{split}: at most {wanted} examples, drawn by seed {self.seed}"])

    def fingerprint(self) -> str:
        rows = source_fingerprint("news_summary", path=self.path)
        return fingerprint(options={**row_options(self, leave_out=("path",)), "rows": rows})

    def rehearsal(self, folder: Path) -> Self:
        write_generated("news_summary", folder, rows=2 * TRAIN_ROWS)
        fewer = {"train_rows": TRAIN_ROWS, "validation_rows": SCORED_ROWS, "test_rows": SCORED_ROWS}
        return self.model_copy(update={"path": folder, **fewer})

    def _wanted(self, split: Split) -> int | None:
        return {"train": self.train_rows, "validation": self.validation_rows, "test": self.test_rows}[split]

    def _rows(self, split: Split) -> Sequence[Row]:
        return source_rows("news_summary", split, path=self.path)
