"""Trackio: a SQLite database in the results folder, `trackio show` draws it; no Space and no hub.

Written through its storage, as its own `Run` does: that one asks the hub who the user is, and one of its kind is open
at a time. Every point has an id, and one that comes twice is ignored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

from tunelab.tracker_contract import Ending, Point, TrackedRun, Tracker

QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_ANALYTICS_ENABLED": "False", "DO_NOT_TRACK": "1"}


class Trackio(Tracker):
    packages: ClassVar[tuple[str, ...]] = ("trackio",)
    install: ClassVar[str] = "pip install 'tunelab[trackio]'"
    look: ClassVar[str] = "TRACKIO_DIR={folder} trackio show --project {study}"

    def __init__(self, folder: Path, study: str) -> None:
        super().__init__(folder, study)
        os.environ.update(QUIET)
        os.environ["TRACKIO_DIR"] = str(folder.absolute())  # read when it is imported
        from trackio.sqlite_storage import SQLiteStorage

        self._storage = SQLiteStorage
        self._runs: dict[str, TrackedRun] = {}

    def begin(self, run: TrackedRun, *, anew: bool) -> bool:
        known = self._storage.get_project_db_path(self.study).exists()
        if known and anew:
            self._storage.delete_run(self.study, run.id, run_id=run.id)
        self._runs[run.id] = run
        there = known and not anew and self._storage.get_max_step_for_run(self.study, run.id, run_id=run.id) is not None
        return bool(there)

    def send(self, run_id: str, points: Sequence[Point]) -> None:
        self._write(self._runs[run_id], points, status="running")

    def end(self, run_id: str, ending: Ending) -> None:
        """A run that is scored again gets a further point at its last step."""
        point = Point(ending.step, ending.when, ending.values)
        self._write(self._runs.pop(run_id), [point], status=ending.status, kind=f"end {ending.when}")

    def _write(self, run: TrackedRun, points: Sequence[Point], *, status: str, kind: str = "step") -> None:
        shown: Mapping[str, Any] = {
            **run.configuration, "tags": dict(run.tags), "status": status,
            "_Group": run.method, "_Created": _time(run.began), "_Username": None,
        }  # fmt: skip
        self._storage.bulk_log(
            project=self.study,
            run=run.id,
            run_id=run.id,
            metrics_list=[dict(point.values) for point in points],
            steps=[point.step for point in points],
            timestamps=[_time(point.when) for point in points],
            log_ids=[f"{run.id} {kind} {point.step} {' '.join(sorted(point.values))}" for point in points],
            config=dict(shown),
        )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()
