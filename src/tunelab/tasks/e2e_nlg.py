"""E2E: a restaurant's meaning representation becomes a sentence (Novikova et al. 2017, arXiv:1706.09254).

The original data of github.com/tuetschek/e2e-dataset, not the cleaned version that GEM/e2e_nlg holds: scores in the
literature on LoRA are on the original. 42,061 rows to train on, 4,672 to validate on; 630 meanings with 4,693
references to test on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt

from tunelab.contracts import Task
from tunelab.data.fingerprint import fingerprint, of_rows, row_options
from tunelab.data.formats import TemplateText, format_rows
from tunelab.data.hub import hub_rows
from tunelab.data.readable import unreadable
from tunelab.data.rows import read_rows
from tunelab.data.splits import draw
from tunelab.errors import DataError
from tunelab.records import Example

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
FILES = {"train": "trainset.csv", "validation": "devset.csv", "test": "testset_w_refs.csv"}


class E2eNlg(Task):
    name: str = "e2e_nlg"

    path: Path | None = None
    """A folder with trainset.csv, devset.csv and testset_w_refs.csv (columns mr, ref); null: the hub."""

    dataset: str = "tuetschek/e2e_nlg"
    """The hub id that is read where no path is given."""

    revision: str = "refs/convert/parquet"
    """Its revision: the hub's own parquet copy, because the main branch can only be loaded by remote code."""

    prompt: TemplateText = "{mr}\n"
    """What the model reads."""

    target: TemplateText = "{ref}"
    """What it learns to write."""

    train_rows: PositiveInt | None = None
    """Train on so many rows, drawn by `seed`; null: all."""

    validation_rows: PositiveInt | None = 500
    """Validate on so many rows, drawn by `seed`; null: all 4,672."""

    test_meanings: PositiveInt | None = None
    """Test on so many meanings with all their references, drawn by `seed`; null: all 630."""

    seed: NonNegativeInt = 0
    """Which rows are drawn."""

    metrics: tuple[str, ...] = ("bleu", "rouge_l")

    def examples(self, split: Split) -> list[Example]:
        formatted = format_rows(
            self._rows(split),
            prompt=self.prompt,
            target=self.target,
            split=split,
            source=f"{self.path / FILES[split] if self.path else self.dataset} ({split})",
            group=split == "test",
        )
        return draw(formatted.examples, n=self._wanted(split), seed=self.seed)

    def problems(self) -> list[str]:
        return [] if self.path is None else unreadable(self)

    def notes(self, split: Split) -> list[str]:
        wanted = self._wanted(split)
        return [] if wanted is None else [f"{split}: at most {wanted} examples, drawn by seed {self.seed}"]

    def fingerprint(self) -> str:
        options = row_options(self, leave_out=("path",))
        if self.path is not None:
            return fingerprint(options=options, files={split: self._file(split) for split in SPLITS})
        return of_rows((row for split in SPLITS for row in self._rows(split)), options=options)

    def _wanted(self, split: Split) -> int | None:
        return {"train": self.train_rows, "validation": self.validation_rows, "test": self.test_meanings}[split]

    def _rows(self, split: Split) -> list[dict[str, Any]]:
        if self.path is not None:
            return read_rows(self._file(split))
        hint = f"get {', '.join(FILES.values())} from github.com/tuetschek/e2e-dataset, and set 'path' to their folder"
        rows = hub_rows(self.dataset, split=split, revision=self.revision, offline_hint=hint)
        names = {"meaning_representation": "mr", "human_reference": "ref"}
        return [{names.get(column, column): value for column, value in row.items()} for row in rows]

    def _file(self, split: Split) -> Path:
        file = self.path / FILES[split]
        if not file.is_file():
            raise DataError(f"{file}: no such file; 'path' must be a folder with {', '.join(FILES.values())}")
        return file
