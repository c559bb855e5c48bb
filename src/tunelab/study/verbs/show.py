"""Data before anything is trained: columns of a file or named set; a study's tokens, supervision and first step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

from tunelab.data.reading.found_rows import find_rows
from tunelab.data.reading.rows import Row
from tunelab.data.sets.named import SOURCES, source_rows
from tunelab.data.tokens.batching import Order, micro_batches
from tunelab.errors import ConfigError, DataError
from tunelab.evaluation.unread import unread_notes
from tunelab.records import TokenRow
from tunelab.study.executing.prepare import RunData, prepare
from tunelab.study.planning.plan import load_backend
from tunelab.study.planning.planned import Plan, Revisions
from tunelab.study.planning.run_config import base_run


class Piece(NamedTuple):
    """A stretch of one row's text, as the tokenizer gives it back."""

    text: str
    supervised: bool
    special: bool


class ShownExample(NamedTuple):
    id: str
    source: tuple[Piece, ...]
    """What an encoder reads; empty for a decoder-only model."""
    pieces: tuple[Piece, ...]
    num_tokens: int
    num_supervised: int


class FirstStep(NamedTuple):
    examples: tuple[str, ...]
    num_steps: int
    """Of the whole run."""
    num_micro_batches: int
    num_tokens: int
    num_supervised: int


class ShownTask(NamedTuple):
    task: str
    encoder_decoder: bool
    summary: dict[str, Any]
    """data/<task>.json: counts, lengths, cuts, overlap."""
    notes: tuple[str, ...]
    examples: tuple[ShownExample, ...]
    first_step: FirstStep


class ShownFile(NamedTuple):
    num_rows: int | None
    """None where counting would fetch a big data set."""
    columns: dict[str, str]
    """Name -> what its values are: text, number, list, nothing."""
    rows: tuple[Row, ...]
    """The first three; three drawn ones of a big data set on the hub."""
    about: tuple[str, ...] = ()
    """What is known of a named data set; of a file what had to be guessed."""


_KINDS = {str: "text", int: "number", float: "number", bool: "true/false", NoneType: "nothing", dict: "object"}


def show_study(plan: Plan, *, num_examples: int = 3) -> list[ShownTask]:
    """Every task of the study with the first seed's order. Needs the model's tokenizer, not its weights.

    Raises:
        DataError, ModelError: data or tokenizer cannot be read.
    """
    backend_name = plan.study.backends[0]
    backend = load_backend(backend_name)
    without_weights = plan.study.model.model_copy(update={"initialize": "random"})
    text = backend.text(without_weights, backend.locate(without_weights))
    shown = []
    for task in plan.tasks:
        run = base_run(plan, task, backend_name, Revisions())
        data = prepare(task.task, text, run, training=True)
        references = [text for example in data.test for text in example.references or (example.target,)]
        shown.append(
            ShownTask(
                task=task.name,
                encoder_decoder=text.encoder_decoder,
                summary=data.summary,
                notes=(*data.notes, *unread_notes(task.metrics, references)),
                examples=tuple(_example(row, data, text.tokenizer) for row in data.train[:num_examples]),
                first_step=_first_step(plan, data),
            )
        )
    return shown


def show_rows(what: str, *, overrides: Sequence[str] = ()) -> ShownFile:
    """A file, or a named data set; `overrides` may say path=DIR (files in place of the hub) and split=SPLIT of a set.

    Raises:
        ConfigError: another override.
        DataError: it cannot be read.
    """
    if Path(what).exists() or (what not in SOURCES and Path(what).suffix):
        if overrides:
            raise ConfigError(
                f"--set {overrides[0]}: a file has nothing to set; path and split are of a named data set"
            )
        return show_file(Path(what))
    options = {key: value for key, _, value in (text.partition("=") for text in overrides)}
    for key in options:
        if key not in ("path", "split"):
            raise ConfigError(f"--set {key}: a data set has path=DIR and split=train|validation|test to set")
    path = Path(options["path"]) if "path" in options else None
    return show_source(what, options.get("split", "train"), path=path)


def show_source(name: str, split: str, *, path: Path | None) -> ShownFile:
    """Raises DataError when it cannot be read, or has no such split."""
    fetched_whole = path is not None or name not in SOURCES or not SOURCES[name].big
    rows = source_rows(name, split, path=path, n=None if fetched_whole else 3)
    source = SOURCES[name]
    if not rows:
        raise DataError(f"{name}: has no {split} split; it has {', '.join(source.splits)}")
    at = f", configuration {source.config}" if source.config else ""
    place = f"hub: {source.hub}{at}, revision {source.revision or 'main'}" if source.hub else "hub: no complete copy"
    about = (source.about, place, f"original files: {source.page}", f"splits: {', '.join(source.splits)}")
    return ShownFile(len(rows) if fetched_whole else None, dict(source.columns), tuple(rows[:3]), about)


def show_file(path: Path) -> ShownFile:
    """As `init` reads it, with what had to be guessed. Raises DataError when it cannot be read."""
    found = find_rows(path)
    rows = found.rows
    seen: dict[str, Counter[str]] = {}
    for row in rows:
        for column, value in row.items():
            seen.setdefault(column, Counter())[_KINDS.get(type(value), type(value).__name__)] += 1
    kinds = {
        column: " or ".join(sorted({*counts, *([_KINDS[NoneType]] if counts.total() < len(rows) else [])}))
        for column, counts in seen.items()
    }
    return ShownFile(len(rows), kinds, tuple(rows[:3]), found.notes)


def _first_step(plan: Plan, data: RunData) -> FirstStep:
    study = plan.study
    order = Order(data.train, seed=study.seeds[0], examples=study.batch.examples, budget=study.budget)
    rows, most = order.step(1), study.batch.max_tokens
    most = load_backend(study.backends[0]).max_tokens() if most == "auto" else most
    return FirstStep(
        examples=tuple(_id(row, data) for row in rows),
        num_steps=order.num_steps,
        num_micro_batches=len(micro_batches(rows, max_tokens=most)),
        num_tokens=sum(row.num_tokens for row in rows),
        num_supervised=sum(row.num_supervised for row in rows),
    )


def _example(row: TokenRow, data: RunData, tokenizer: Any) -> ShownExample:
    source = () if row.source is None else _pieces(row.source.tolist(), [False] * len(row.source), tokenizer)
    pieces = _pieces(row.ids.tolist(), row.supervised.tolist(), tokenizer)
    return ShownExample(_id(row, data), source, pieces, row.num_tokens, row.num_supervised)


def _id(row: TokenRow, data: RunData) -> str:
    """A packed row is named by its first document."""
    more = f" and {len(row.starts) - 1} more" if row.starts else ""
    return data.train.id_of(row) + more


def _pieces(ids: list[int], supervised: list[bool], tokenizer: Any) -> tuple[Piece, ...]:
    """Cut where supervision or speciality changes. A stretch is what its tokens add to the text before them, because
    a tokenizer may drop the space at a text's beginning."""
    special = set(tokenizer.all_special_ids)
    pieces: list[Piece] = []
    start, before = 0, ""
    for end in range(1, len(ids) + 1):
        kind = (supervised[start], ids[start] in special)
        if end < len(ids) and (supervised[end], ids[end] in special) == kind:
            continue
        whole = tokenizer.decode(ids[:end], skip_special_tokens=False)
        added = whole[len(before) :] if whole.startswith(before) else tokenizer.decode(ids[start:end])
        pieces.append(Piece(added, *kind))
        start, before = end, whole
    return tuple(pieces)
