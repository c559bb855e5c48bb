"""Your own data: jsonl, json, csv, tsv, parquet or txt files with prompts and targets, conversations or plain text.

Without prompt, target, text and messages the columns decide (data/examples/shapes.py); the task's notes say how they
were read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import AfterValidator, NonNegativeInt, PositiveInt, model_validator

from tunelab.contracts import Task
from tunelab.data.examples.chat_rows import TrainOn, chat_examples
from tunelab.data.examples.conversations import (
    ROLES_WITH_TOOLS,
    alpaca_turns,
    completion_turns,
    question,
    read_turns,
    without_empty_answers,
)
from tunelab.data.examples.fingerprint import fingerprint, row_options
from tunelab.data.examples.formats import TemplateText, asked, format_rows
from tunelab.data.examples.message_fields import GIVEN, given_fields
from tunelab.data.examples.readable import FEW_ROWS, unreadable
from tunelab.data.examples.rehearsal import TRAIN_ROWS, with_fewer_rows, write_jsonl
from tunelab.data.examples.shapes import Shape, first_columns, shape_of
from tunelab.data.examples.splits import draw
from tunelab.data.reading.rows import read_rows
from tunelab.errors import DataError
from tunelab.records import Example, Turn

Split = Literal["train", "validation", "test"]

_WAYS = ("prompt", "target", "text", "messages")
_ANSWERS = ("rouge_l", "bleu")
_PLAIN_TEXT = ("perplexity", "bits_per_token")
_RIGHT_OR_WRONG = {"accuracy", "exact_match", "gsm8k_exact_match"}
"""Metrics that count rows: where joined, any of several answers were right, and equal rows counted once."""


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
    """The file to score on."""

    validation: Path | None = None
    """The file that chooses between learning rates; without it, 10 % of train (at most 500 rows) is held out."""

    prompt: TemplateText | None = None
    """What the model reads, as in '{question}'; `{{` and `}}` are braces themselves."""

    target: TemplateText | None = None
    """What it learns to write. Rows whose target is empty are left out and counted."""

    text: TemplateText | None = None
    """Instead of prompt and target: plain text to model, as in '{text}'."""

    messages: str | None = None
    """Instead of prompt and target: the column with conversations, lists of {role, content} or {from, value}. Each is
    written as the model's chat template says."""

    train_on: TrainOn = "all"
    """Of conversations: `all` learns every turn of the assistant (but those of weight 0), `last` the last of them."""

    ignore_fields: tuple[str, ...] = ()
    """Fields of messages, and the columns tools and documents, that are not read, as in [reasoning_content]."""

    join_equal_prompts: bool | Literal["auto"] = "auto"
    """Test rows with equal prompts are one example with several references (true), or each for itself (false). auto:
    each for itself where one of the metrics is accuracy, exact_match or gsm8k_exact_match."""

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

    hidden_at_default: ClassVar[tuple[str, ...]] = ("train_on", "ignore_fields", "join_equal_prompts")

    @model_validator(mode="before")
    @classmethod
    def _default_metrics(cls, options: Any) -> Any:
        if not isinstance(options, dict):
            return options
        if options.get("metrics"):
            # What a "before" validator returns is no longer JSON to pydantic: its strict mode wants the tuple itself.
            metrics = options["metrics"]
            return {**options, "metrics": tuple(metrics) if isinstance(metrics, list) else metrics}
        return {**options, "metrics": _PLAIN_TEXT if _is_plain_text(options) else _ANSWERS}

    @model_validator(mode="after")
    def _one_way_to_read(self) -> Files:
        given = [name for name in _WAYS if getattr(self, name) is not None]
        if given not in ([], ["prompt", "target"], ["text"], ["messages"]):
            raise ValueError(
                "needs prompt and target, or text alone, or messages alone (or none of them: the columns decide); "
                f"got {' and '.join(given)}"
            )
        return self

    def examples(self, split: Split) -> Sequence[Example]:
        read = self._read(split)
        return draw(read.examples, n=self._wanted(split), seed=self.seed) if read else []

    def problems(self) -> list[str]:
        return unreadable(self)

    def known_references(self) -> Sequence[str]:
        try:
            read = self._read("test", first=FEW_ROWS)
        except DataError:  # `problems` has told what can be told before the whole file is read
            return ()
        return [] if read is None else [text for example in read.examples for text in example.references]

    def notes(self, split: Split) -> list[str]:
        read = self._read(split)
        if read is None:
            return []
        notes = [*self._shape_notes(), *self._escape_notes()] if split == "train" else []
        notes += read.notes
        if split == "test" and not self._joins and self._has_equal_prompts():
            why = "the metrics count rows" if self.join_equal_prompts == "auto" else "join_equal_prompts: false"
            notes.append(f"{split}: rows with equal prompts are kept apart, each with its own answer ({why})")
        wanted = self._wanted(split)
        if wanted is not None and wanted < len(read.examples):
            notes.append(f"{split}: {wanted} of {len(read.examples)} examples drawn by seed {self.seed}")
        return notes

    def rehearsal(self, folder: Path) -> Files:
        copies = {split: self._first_rows(split, folder) for split in ("train", "validation", "test")}
        fewer = with_fewer_rows(self, train="train_rows", scored=("validation_rows", "test_rows"))
        return fewer.model_copy(update={**copies, "encoding": "utf-8"})

    def _first_rows(self, split: Split, folder: Path) -> Path | None:
        """A file with the split's first rows, as many as give TRAIN_ROWS examples; None where there is no file."""
        path, read = self._path(split), self._read(split)
        if path is None or read is None:
            return None
        rows, examples = read_rows(path, encoding=self.encoding), read.examples
        end = int(examples[TRAIN_ROWS].id.rpartition("-")[2]) if len(examples) > TRAIN_ROWS else None
        return write_jsonl(folder / f"{split}.jsonl", rows[:end])

    def fingerprint(self) -> str:
        paths = {"train": self.train, "validation": self.validation, "test": self.test}
        options = row_options(self, leave_out=(*paths, "join_equal_prompts"))
        if not self._joins and self._has_equal_prompts():
            options["join_equal_prompts"] = False  # as said, or by the metrics
        return fingerprint(options=options, files={role: path for role, path in paths.items() if path is not None})

    @property
    def _joins(self) -> bool:
        if self.join_equal_prompts != "auto":
            return self.join_equal_prompts
        return not any(name.partition(":")[0] in _RIGHT_OR_WRONG for name in self.metrics)

    def _has_equal_prompts(self) -> bool:
        """Whether joining would change the test examples; rows that cannot be read are reported by `problems`."""
        try:
            examples = self.model_copy(update={"join_equal_prompts": True, "test_rows": None}).examples("test")
        except DataError:
            return False
        return any(len(example.references) > 1 for example in examples)

    def _wanted(self, split: Split) -> int | None:
        return {"train": self.train_rows, "validation": self.validation_rows, "test": self.test_rows}[split]

    def _path(self, split: Split) -> Path | None:
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]

    def question(self, given: str | Mapping[str, Any], *, name: str) -> Example:
        if self.prompt is not None or self.text is not None:
            return asked(given, self.prompt if isinstance(given, str) else self.prompt or self.text, name=name)
        shape = self._shape()
        if shape.kind not in _CHATS:  # a text goes on as it is given, a row fills the template
            return asked(given, shape.prompt if isinstance(given, str) else shape.prompt or shape.target, name=name)
        if isinstance(given, str):
            return question(given, name=name)
        if shape.kind != "messages":  # a row that is only asked has no answer
            given = {shape.columns[-1]: "" if shape.kind == "alpaca" else [], **given}
        turns = self._turns(shape, given, name)
        if self.train_on == "last":
            turns = [turn._replace(learned=turn.role != "assistant") for turn in turns]
        return question(turns, name=name, given=self._given(shape, given, name))

    def _shape(self) -> Shape:
        """As the study says, else as the columns of train look; the other files are read the same way."""
        if self.messages is not None:
            return Shape("messages", "conversations", (self.messages,))
        return shape_of(read_rows(self.train, encoding=self.encoding), source=str(self.train))

    def _turns(self, shape: Shape, row: Mapping[str, Any], row_name: str) -> list[Turn]:
        if shape.kind == "alpaca":
            return alpaca_turns(row, row_name=row_name)
        if shape.kind == "completion":
            turns = completion_turns(row, shape.columns, row_name=row_name, ignore=self.ignore_fields)
        else:
            (column,) = shape.columns
            turns = read_turns(row, column, row_name=row_name, roles=ROLES_WITH_TOOLS, ignore=self.ignore_fields)
        return without_empty_answers(turns)

    def _given(self, shape: Shape, row: Mapping[str, Any], row_name: str) -> str:
        return "" if shape.kind == "alpaca" else given_fields(row, ignore=self.ignore_fields, row_name=row_name)

    def _shape_notes(self) -> list[str]:
        if any(getattr(self, name) is not None for name in _WAYS):
            return []
        shape = self._shape()
        read = {*shape.columns, *(GIVEN if shape.kind in ("messages", "completion") else ())} - {*self.ignore_fields}
        unread = [name for name in first_columns(read_rows(self.train, encoding=self.encoding)) if name not in read]
        left = f"; not read: {', '.join(unread)}" if unread else ""
        return [f"{self.train.name}: read as {shape.name}{left}"]

    def _escape_notes(self) -> list[str]:
        templates = {name: getattr(self, name) or "" for name in ("prompt", "target", "text")}
        return [
            rf"{name}: \n in it is two characters, a backslash and an n, and no line break"
            for name, template in templates.items()
            if r"\n" in template
        ]

    def _read(self, split: Split, *, first: int | None = None) -> _Read | None:
        """`first`: no more rows than these."""
        path = self._path(split)
        if path is None:
            return None
        rows, source, group = read_rows(path, encoding=self.encoding), str(path), split == "test" and self._joins
        rows = rows if first is None else rows[:first]
        prompt, target = self.prompt, self.target or self.text
        if target is None:
            shape = self._shape()
            if shape.kind in _CHATS:
                turns, given = partial(self._turns, shape), partial(self._given, shape)
                chats = chat_examples(
                    rows, turns, split=split, source=source, group=group, train_on=self.train_on, given=given
                )
                return _Read(chats.examples, chats.counts.notes(split))
            prompt, target = shape.prompt, shape.target
            assert target is not None, shape
        formatted = format_rows(rows, prompt=prompt, target=target, split=split, source=source, group=group)
        empty = f"{split}: {formatted.num_empty_targets} of {formatted.num_rows} rows left out, their target is empty"
        return _Read(formatted.examples, [empty] if formatted.num_empty_targets else [])


class _Read(NamedTuple):
    examples: Sequence[Example]
    notes: list[str]


_CHATS = ("messages", "completion", "alpaca")
"""Shapes that are conversations."""


def _is_plain_text(options: Mapping[str, Any]) -> bool:
    """Told by the columns where the study says nothing else; a file that cannot be read is reported by `problems`."""
    if any(options.get(name) is not None for name in _WAYS):
        return options.get("text") is not None
    try:
        rows = read_rows(Path(options["train"]), encoding=options.get("encoding") or "utf-8")
        return shape_of(rows, source="").kind == "text"
    except (DataError, KeyError, TypeError, LookupError):
        return False
