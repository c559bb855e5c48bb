"""Your own data: jsonl, json, csv, tsv, parquet or txt files, with a prompt and a target made of their columns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, NonNegativeInt, PositiveInt, model_validator

from tunelab.contracts import Task
from tunelab.data.fingerprint import fingerprint, row_options
from tunelab.data.formats import Formatted, TemplateText, format_rows
from tunelab.data.readable import unreadable
from tunelab.data.rehearsal import TRAIN_ROWS, with_fewer_rows, write_jsonl
from tunelab.data.rows import read_rows
from tunelab.data.splits import draw
from tunelab.records import Example

Split = Literal["train", "validation", "test"]


def _known_encoding(name: str) -> str:
    try:
        "".encode(name)  # Unlike codecs.lookup, this refuses base64 and other codecs that are not of text.
    except LookupError:
        raise ValueError(f"{name!r} is not an encoding Python knows; common ones are utf-8, cp1252, utf-16") from None
    return name


class Files(Task):
    train: Path
    """The file to train on; relative to the study's folder."""

    test: Path
    """The file to score on. Rows with equal prompts are one example with several references."""

    validation: Path | None = None
    """The file that chooses between learning rates; without it, 10 % of train (at most 500 rows) is held out."""

    prompt: TemplateText | None = None
    """What the model reads, as in '{question}'; `{{` and `}}` are braces themselves."""

    target: TemplateText | None = None
    """What it learns to write. Rows whose target is empty are left out and counted."""

    text: TemplateText | None = None
    """Instead of prompt and target: plain text to model, as in '{text}'."""

    encoding: Annotated[str, AfterValidator(_known_encoding)] = "utf-8"
    """Of text files."""

    train_rows: PositiveInt | None = None
    """Train on so many rows, drawn by `seed`; null: all."""

    validation_rows: PositiveInt | None = None
    """The same for `validation`."""

    test_rows: PositiveInt | None = None
    """The same for `test`, counted after rows with equal prompts became one."""

    seed: NonNegativeInt = 0
    """Which rows are drawn. The same for every seed of the study."""

    metrics: tuple[str, ...] = ()
    """Left out: rouge_l and bleu; for plain text perplexity and bits_per_token."""

    @model_validator(mode="before")
    @classmethod
    def _default_metrics(cls, options: Any) -> Any:
        if not isinstance(options, dict):
            return options
        if options.get("metrics"):
            # What a "before" validator returns is no longer JSON to pydantic: its strict mode wants the tuple itself.
            metrics = options["metrics"]
            return {**options, "metrics": tuple(metrics) if isinstance(metrics, list) else metrics}
        plain_text = options.get("text") is not None
        return {**options, "metrics": ("perplexity", "bits_per_token") if plain_text else ("rouge_l", "bleu")}

    @model_validator(mode="after")
    def _prompt_and_target_or_text(self) -> Files:
        given = [name for name in ("prompt", "target", "text") if getattr(self, name) is not None]
        if given not in (["prompt", "target"], ["text"]):
            raise ValueError(f"needs prompt and target, or text alone; got {' and '.join(given) or 'none of them'}")
        return self

    def examples(self, split: Split) -> list[Example]:
        formatted = self._formatted(split)
        return draw(formatted.examples, n=self._wanted(split), seed=self.seed) if formatted else []

    def problems(self) -> list[str]:
        return unreadable(self)

    def notes(self, split: Split) -> list[str]:
        formatted = self._formatted(split)
        if formatted is None:
            return []
        notes = []
        if formatted.num_empty_targets:
            notes.append(
                f"{split}: {formatted.num_empty_targets} of {formatted.num_rows} rows left out, their target is empty"
            )
        wanted = self._wanted(split)
        if wanted is not None and wanted < len(formatted.examples):
            notes.append(f"{split}: {wanted} of {len(formatted.examples)} examples drawn by seed {self.seed}")
        return notes

    def rehearsal(self, folder: Path) -> Files:
        copies = {split: self._first_rows(split, folder) for split in ("train", "validation", "test")}
        fewer = with_fewer_rows(self, train="train_rows", scored=("validation_rows", "test_rows"))
        return fewer.model_copy(update={**copies, "encoding": "utf-8"})

    def _first_rows(self, split: Split, folder: Path) -> Path | None:
        """A file with the split's first rows, as many as give TRAIN_ROWS examples; None where there is no file."""
        path, formatted = self._path(split), self._formatted(split)
        if path is None or formatted is None:
            return None
        further = [int(example.id.rpartition("-")[2]) for example in formatted.examples[TRAIN_ROWS:]]
        rows = read_rows(path, encoding=self.encoding)[: min(further, default=None)]
        return write_jsonl(folder / f"{split}.jsonl", rows)

    def fingerprint(self) -> str:
        paths = {"train": self.train, "validation": self.validation, "test": self.test}
        return fingerprint(
            options=row_options(self, leave_out=paths),
            files={role: path for role, path in paths.items() if path is not None},
        )

    def _wanted(self, split: Split) -> int | None:
        return {"train": self.train_rows, "validation": self.validation_rows, "test": self.test_rows}[split]

    def _path(self, split: Split) -> Path | None:
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]

    def _formatted(self, split: Split) -> Formatted | None:
        path = self._path(split)
        if path is None:
            return None
        return format_rows(
            read_rows(path, encoding=self.encoding),
            prompt=self.prompt,
            target=self.target or self.text,
            split=split,
            source=str(path),
            group=split == "test",
        )
