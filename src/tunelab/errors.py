"""The errors a user can cause or mend: one line each, printed without a traceback.

Everything else is a defect of tunelab (or of a library) and keeps its traceback.
A message says what was got, the rule, and the way out.
"""

from __future__ import annotations

from typing import Any

LINE_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""What Python ends a line at."""


def one_line(text: str) -> str:
    """A message that quotes what a user has written, with line breaks as \\n."""
    return "".join(repr(letter)[1:-1] if letter in LINE_BREAKS else letter for letter in text)


class TunelabError(Exception):
    """Base of all errors that are printed as one line; `exit_status` is what the command line returns."""

    exit_status = 2

    def _render_traceback_(self) -> list[str]:
        """What IPython shows, and so a notebook, in place of a traceback."""
        return [f"error: {line}" for line in str(self).splitlines()]


class ConfigError(TunelabError):
    """A study (or an option) that cannot be planned. Carries every problem found, not only the first."""

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


class DataError(TunelabError):
    """A data file or data set that is missing, empty, or not in the form that the task names."""


class ModelError(TunelabError):
    """A model that is missing, gated, unreachable, or not in a form that can be loaded safely."""


class RunError(TunelabError):
    """A run that cannot go on, as when its loss is not finite."""

    exit_status = 1


class UnreadableRun(RunError, ValueError):
    """A record of a run that is damaged, or of another version of tunelab."""


class Diverged(RunError):
    """A run whose loss or gradient norm is not finite: nothing after that step would mean anything."""

    def __init__(self, message: str, *, step: int) -> None:
        self.step = step
        self.phases: dict[str, Any] = {}
        """What it has cost by phase (records.PhaseCost), told by whoever measures it."""
        super().__init__(message)


class OutOfMemory(RunError):
    """The device had not the memory for what was asked of it; what that held is free again."""


class NoMemory(RunError):
    """A run that has not the memory to go on, whatever is tried."""


class RunBusy(RunError):
    """A run's folder is being written by another living process; nothing is wrong with the run."""


class Stopped(RunError):
    """A run that was asked to stop; it goes on from where it is when it is executed again."""


class RankLost(RunError):
    """Of a run over several devices: another of its processes has ended, which names its reason itself."""


class CannotScore(TunelabError):
    """A metric that cannot be computed from these texts or on this machine (no Java); the message says why. The score
    is then missing with that reason, and nothing else fails."""
