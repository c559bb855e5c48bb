"""What a tracker has got of a study's runs, and what stood in its way: on disk, so that another process goes on."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from tunelab.files import write_atomically
from tunelab.records import Record


class Sent(Record):
    """Of one run."""

    first: str = ""
    """RunTold.first of what was sent."""
    step: int = 0
    """The last one whose training values were sent. Steps that a resumed run takes again are not sent again."""
    validation: int = 0
    ending: str = ""
    """EndingTold.digest; empty: none, or the run has gone on since."""


class AllSent(Record):
    """sent.json."""

    runs: dict[str, Sent] = {}


class TrackerFolder:
    """RESULTS/trackers/<name>: what the tracker keeps itself, what was sent, the mirror's log, and its problem."""

    def __init__(self, results: Path, name: str) -> None:
        self.results, self.name = results, name
        self.path = results / "trackers" / name

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def _sent(self) -> Path:
        return self.path / "sent.json"

    @property
    def _problem(self) -> Path:
        return self.path / "problem.txt"

    @property
    def goes_on(self) -> str:
        """The command that sends what is missing."""
        return f"tunelab track {self.results} --to {self.name}"

    def read_sent(self) -> dict[str, Sent]:
        """Empty where nothing was, or where it cannot be read: then all is sent again."""
        try:
            return dict(AllSent.model_validate_json(self._sent.read_bytes()).runs)
        except (OSError, ValidationError):
            return {}

    def write_sent(self, runs: dict[str, Sent]) -> None:
        write_atomically(self._sent, AllSent(runs=runs).model_dump_json() + "\n")

    def problem(self) -> str:
        """Empty: none."""
        try:
            return self._problem.read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    def write_problem(self, text: str) -> None:
        if text:
            write_atomically(self._problem, text + "\n")
        else:
            self._problem.unlink(missing_ok=True)

    def said(self) -> str:
        """For the report: '6 runs', or what stood in the way."""
        return self.problem() or f"{sum(1 for each in self.read_sent().values() if each.ending)} runs"
