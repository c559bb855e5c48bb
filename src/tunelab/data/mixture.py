"""A task that mixes named data sets: the options of each, its checks, its fingerprint, and its rehearsal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeVar

from pydantic import PositiveFloat, PositiveInt

from tunelab.contracts import Options, Task
from tunelab.data.fingerprint import fingerprint
from tunelab.data.mixing import Part, mix
from tunelab.data.rehearsal import SCORED_ROWS, TRAIN_ROWS
from tunelab.data.sources import source_fingerprint, write_generated
from tunelab.errors import DataError
from tunelab.records import Example

Split = Literal["train", "validation", "test"]
GENERATED_ROWS = 48
"""Of each data set in a rehearsal, of which fewer are used: some sets draw their splits from these."""


class SetOptions(Options):
    """How much of one data set, and where it is."""

    train: PositiveInt | None
    """Train on at most so many rows, drawn by the task's seed; null: all."""

    test: PositiveInt | None
    """Test on at most so many."""

    weight: PositiveFloat | None = None
    """Its share of the training rows, relative to the other sets with a weight; null: all that `train` allows."""

    path: Path | None = None
    """A folder with its files, or one file (`tunelab show --rows NAME` says which); null: the hub."""


class SplitRows(NamedTuple):
    """What one set gives to a split."""

    examples: Sequence[Example]
    notes: list[str]


class SetTask(Protocol):
    """A task whose options of each data set are the field of that name (SetOptions)."""

    sources: tuple[str, ...]
    seed: int

    def split_rows(self, name: str, split: Split) -> SplitRows: ...


AnyTask = TypeVar("AnyTask", bound=SetTask)


class Mixture(NamedTuple):
    examples: Sequence[Example]
    notes: list[str]


def mixture(split: Split, given: dict[str, SplitRows], *, weights: dict[str, float | None], seed: int) -> Mixture:
    """The sets' rows as one split, with what was said of each and how many rows each gives.

    Raises:
        DataError: a set gives no row.
    """
    parts = [
        Part(name, rows.examples, weight=weights[name] if split == "train" else None) for name, rows in given.items()
    ]
    mixed = mix(parts, seed=seed)
    notes = [note for rows in given.values() for note in rows.notes]
    counts = ", ".join(f"{name} {number}" for name, number in mixed.counts.items())
    return Mixture(mixed.examples, [*notes, f"{split}: {len(mixed.examples)} rows: {counts}"])


def check_sets(task: Task, chosen: Sequence[str], all_sets: Iterable[str]) -> None:
    """Raises ValueError for a set that is named twice, or has options and is not among the chosen ones."""
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"sources names a data set twice: {', '.join(chosen)}")
    for name in all_sets:
        if name not in chosen and getattr(task, name) != type(task).model_fields[name].default:
            raise ValueError(f"{name} has options, but sources ({', '.join(chosen)}) leaves it out; add it there")


def local_problems(task: SetTask) -> list[str]:
    """What reading the sets that are files on this machine says; the hub is not asked while planning."""
    found = []
    for name in task.sources:
        if getattr(task, name).path is not None:
            try:
                for split in ("train", "test"):
                    task.split_rows(name, split)
            except DataError as error:
                found.append(str(error))
    return found


def mixture_fingerprint(task: SetTask) -> str:
    options = {name: getattr(task, name).model_dump(mode="json", exclude={"path"}) for name in task.sources}
    sets = {name: source_fingerprint(name, path=getattr(task, name).path) for name in task.sources}
    return fingerprint(options={"seed": task.seed, "options": options, "sets": sets})


def rehearsed(task: AnyTask, folder: Path) -> AnyTask:
    """The task on a few generated rows of each set, which lie in a folder of its name."""
    most = {"train": TRAIN_ROWS, "validation": SCORED_ROWS, "test": SCORED_ROWS}
    sets = {}
    for name in task.sources:
        write_generated(name, folder / name, rows=GENERATED_ROWS)
        options = getattr(task, name)
        few = {split: max(1, number // len(task.sources)) for split, number in most.items()}
        fewer = {key: min(few[key], getattr(options, key) or few[key]) for key in few if hasattr(options, key)}
        sets[name] = options.model_copy(update={**fewer, "path": folder / name})
    return type(task)(**{**dict(task), **sets})
