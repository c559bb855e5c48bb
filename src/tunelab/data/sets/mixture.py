"""A task that mixes named data sets, each with options of its own: what they share, down to the rows of one set."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from typing_extensions import Self

from tunelab.contracts import Options, Task
from tunelab.data.examples.fingerprint import fingerprint
from tunelab.data.examples.readable import unreadable
from tunelab.data.examples.rehearsal import SCORED_ROWS, TRAIN_ROWS
from tunelab.data.sets.mixing import Part, mix
from tunelab.data.sets.named import SOURCES, source_fingerprint, write_generated
from tunelab.records import Example

Split = Literal["train", "validation", "test"]
GENERATED_ROWS = 48
"""Of each data set in a rehearsal, of which fewer are used: some sets draw their splits from these."""


class SetOptions(Options):
    """How much of one data set, and where it is."""

    train: PositiveInt | None
    """Train on at most so many rows, drawn by the task's seed; null: all."""

    test: PositiveInt | None
    """Test on at most so many, drawn by the task's seed; null: all."""

    weight: PositiveFloat | None = None
    """Its share of the training rows, relative to the other sets with a weight; null: all that `train` allows."""

    path: Path | None = None
    """A folder with its files, or one file (`tunelab show --rows NAME` says which); null: the hub."""


class SetRows(NamedTuple):
    """What one set gives to a split."""

    examples: Sequence[Example]
    notes: list[str]


class MixedTask(Task):
    """The options of a data set are the field of its name, a SetOptions."""

    sources: tuple[str, ...]
    """Which data sets."""

    seed: NonNegativeInt = 0
    """Which rows are drawn, and which are held out. The same for every seed of the study."""

    @abstractmethod
    def set_rows(self, name: str, split: Split) -> SetRows:
        """What one data set gives, before it is mixed with the others.

        Raises:
            DataError: missing file, missing column, nothing in it, or what the hub refuses.
        """

    @model_validator(mode="after")
    def _known_sets(self) -> Self:
        if not self.sources:
            raise ValueError("sources is empty; name at least one data set, or leave sources out for all")
        if len(set(self.sources)) < len(self.sources):
            raise ValueError(f"sources names a data set twice: {', '.join(self.sources)}")
        for name, field in type(self).model_fields.items():
            if name in SOURCES and name not in self.sources and getattr(self, name) != field.default:
                raise ValueError(f"{name} has options, but sources ({', '.join(self.sources)}) leaves it out")
        return self

    def examples(self, split: Split) -> Sequence[Example]:
        return self._mixture(split).examples

    def notes(self, split: Split) -> list[str]:
        return self._mixture(split).notes

    def problems(self) -> list[str]:
        """What reading the sets on this machine says; the hub is not asked while planning."""
        local = [name for name in self.sources if self.options_of(name).path is not None]
        alone = [type(self)(sources=(name,), seed=self.seed, **{name: getattr(self, name)}) for name in local]
        return [problem for task in alone for problem in unreadable(task, part=True)]

    def fingerprint(self) -> str:
        options = {name: self.options_of(name).model_dump(mode="json", exclude={"path"}) for name in self.sources}
        sets = {name: source_fingerprint(name, path=self.options_of(name).path) for name in self.sources}
        own = self.model_dump(mode="json", include={*self.hidden_at_default})
        return fingerprint(options={"seed": self.seed, "options": options, "sets": sets, **own})

    def rehearsal(self, folder: Path) -> Self:
        """On a few generated rows of each set, which lie in a folder of its name."""
        most = {"train": TRAIN_ROWS, "validation": SCORED_ROWS, "test": SCORED_ROWS}
        few = {split: max(1, number // len(self.sources)) for split, number in most.items()}
        changed = {}
        for name in self.sources:
            write_generated(name, folder / name, rows=GENERATED_ROWS)
            options = self.options_of(name)
            fewer = {key: min(few[key], getattr(options, key) or few[key]) for key in few if hasattr(options, key)}
            changed[name] = options.model_copy(update={**fewer, "path": folder / name})
        return type(self)(**{**dict(self), **changed})

    def options_of(self, name: str) -> SetOptions:
        return getattr(self, name)

    @cached_property
    def _mixtures(self) -> dict[str, SetRows]:
        """Filled as splits are asked for, so that each is read once."""
        return {}

    def _mixture(self, split: Split) -> SetRows:
        if split not in self._mixtures:
            self._mixtures[split] = self._mixed(split)
        return self._mixtures[split]

    def _mixed(self, split: Split) -> SetRows:
        """The sets' rows in one order, and what was said of each with the number of rows it gives."""
        parts, notes = [], []
        for name in self.sources:
            rows = self.set_rows(name, split)
            parts.append(Part(name, rows.examples, weight=self.options_of(name).weight if split == "train" else None))
            notes += rows.notes
        mixed = mix(parts, seed=self.seed)
        counts = ", ".join(f"{name} {number:,}" for name, number in mixed.counts.items())
        return SetRows(mixed.examples, [*notes, f"{split}: {len(mixed.examples):,} rows drawn: {counts}"])
