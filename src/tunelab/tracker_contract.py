"""What a tracker must offer: a tool in which the curves of runs are looked at gets what they wrote, and nothing else.

A tracker lives in a mirror, a process of its own (launch/tracking/mirror.py). It may hang, raise or die there: no run
notices. It is told numbers and settings; texts, weights and the name of the host it is never told.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

Status = Literal["finished", "failed", "diverged", "stopped", "running"]
"""running: it goes on elsewhere, and is looked at no more."""


class TrackedRun(NamedTuple):
    """A run as trackers are told of it."""

    id: str
    """The run's own; the tracker's too, where it lets others choose."""
    study: str
    method: str
    """The label: 'base', 'lora r=4'."""
    began: float
    """Seconds since 1970."""
    configuration: Mapping[str, Any]
    """All of the run's, resolved, nested as in run.json; of a path only its last name."""
    tags: Mapping[str, str]
    """study, run, method, task, seed, back end and model."""


class Point(NamedTuple):
    """Values at one optimizer step."""

    step: int
    when: float
    """Seconds since 1970, by the run's records: the same each time that it is asked for."""
    values: Mapping[str, float]
    """'train/loss' and the like; finite."""


class Ending(NamedTuple):
    """How a run ended, for now: one that failed or was stopped may go on, a finished one may be scored again."""

    status: Status
    step: int
    """The last one; 0 of a run without training."""
    when: float
    values: Mapping[str, float]
    """'test/rouge_l', 'usage/train_seconds' and the like."""


class Tracker(ABC):
    """One tracker for one study. Several of its runs may be open at a time.

    Whatever it raises is written into the mirror's log, and ends the mirror alone.
    """

    packages: ClassVar[tuple[str, ...]]
    """What is imported; the first one's distribution has the version that is told."""
    install: ClassVar[str]
    """The command that brings them."""
    look: ClassVar[str]
    """The command that shows what was mirrored; {folder} and {study} are filled in."""

    def __init__(self, folder: Path, study: str) -> None:
        """
        Args:
            folder: the tracker's own in the results folder; it is there.
            study: groups the runs: group, experiment or project, as the tracker calls it.
        """
        self.folder = folder
        self.study = study

    @classmethod
    def missing(cls) -> str:
        """What to install; empty: nothing."""
        absent = [name for name in cls.packages if not _installed(name)]
        return f"the package {', '.join(absent)} is not installed: {cls.install}" if absent else ""

    @classmethod
    def version(cls) -> str:
        """Of what is installed, 'mlflow-skinny 3.4.0'; empty: it is not."""
        if cls.missing():
            return ""
        names = metadata.packages_distributions().get(cls.packages[0], [cls.packages[0]])
        return f"{names[0]} {metadata.version(names[0])}"

    @abstractmethod
    def begin(self, run: TrackedRun, *, anew: bool) -> bool:
        """Open a run, or open it again.

        Args:
            anew: it was trained from the beginning again: what the tracker has of it is of another run, and goes.

        Returns:
            Whether what was sent of it before is there and is continued. False: all of it is to be sent.
        """

    @abstractmethod
    def send(self, run_id: str, points: Sequence[Point]) -> None:
        """Keep points of an open run, in the order of their steps; kept on return. Points of the last call may come
        again where the mirror was killed before it had written down that they were sent."""

    @abstractmethod
    def end(self, run_id: str, ending: Ending) -> None:
        """Close an open run."""

    def close(self) -> None:
        """All runs are closed."""


def _installed(package: str) -> bool:
    """A folder of that name, as some trackers make in the working folder, is none."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


def flat(configuration: Mapping[str, Any], above: str = "") -> dict[str, str | int | float | bool]:
    """{'method': {'rank': 8}} -> {'method.rank': 8}; lists are numbered, what is None is left out."""
    found: dict[str, str | int | float | bool] = {}
    for key, value in configuration.items():
        name = f"{above}{key}"
        if isinstance(value, (list, tuple)) and any(isinstance(each, (Mapping, list, tuple)) for each in value):
            value = dict(enumerate(value))
        if isinstance(value, Mapping):
            found |= flat(value, f"{name}.")
        elif isinstance(value, (str, int, float)):
            found[name] = value
        elif value is not None:
            found[name] = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return found
