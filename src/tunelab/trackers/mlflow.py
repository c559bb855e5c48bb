"""MLflow: a SQLite database in the results folder, or the server that MLFLOW_TRACKING_URI names.

By the client's own calls, which record no user, source, command line or commit: what MLflow's fluent ones would. It
chooses ids of runs itself, so the run's own is its name and the tag `tunelab.run`, by which it is found again. Points
that come twice have the same time, and are kept once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tunelab.tracker_contract import Ending, Point, TrackedRun, Tracker, flat

TAG = "tunelab.run"
MOST_METRICS, MOST_PARAMS = 1000, 100
"""Of one call."""
LONGEST_PARAM, LONGEST_TAG = 500, 5000
"""Characters, of the smallest limits that servers have."""
STATUS = {"finished": "FINISHED", "failed": "FAILED", "diverged": "FAILED", "stopped": "KILLED"}


class MLflow(Tracker):
    packages: ClassVar[tuple[str, ...]] = ("mlflow", "sqlalchemy", "alembic")
    install: ClassVar[str] = "pip install 'tunelab[mlflow]'"
    look: ClassVar[str] = "mlflow server --backend-store-uri sqlite:///{folder}/mlflow.db (of the whole mlflow)"

    def __init__(self, folder: Path, study: str) -> None:
        super().__init__(folder, study)
        os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"})
        from mlflow.tracking import MlflowClient

        folder = folder.absolute()
        given = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(tracking_uri=given or f"sqlite:///{folder / 'mlflow.db'}")
        experiment = self._client.get_experiment_by_name(study)
        # Artifacts are never sent, and without a place of their own the working folder would get one.
        place = None if given else (folder / "artifacts").as_uri()
        self._experiment = experiment.experiment_id if experiment else self._client.create_experiment(study, place)
        self._ids: dict[str, str] = {}
        """The run's own id -> MLflow's."""

    def begin(self, run: TrackedRun, *, anew: bool) -> bool:
        found = self._client.search_runs([self._experiment], f"tags.`{TAG}` = '{run.id}'", max_results=1)
        if found and anew:
            self._client.delete_run(found[0].info.run_id)
        if found and not anew:
            self._ids[run.id] = found[0].info.run_id
            self._client.update_run(self._ids[run.id], status="RUNNING")
            self._settings(run, known=found[0].data.params)
            return True
        tags = {TAG: run.id, **{f"tunelab.{name}": value for name, value in run.tags.items() if name != "run"}}
        made = self._client.create_run(self._experiment, int(1000 * run.began), tags, run_name=run.id)
        self._ids[run.id] = made.info.run_id
        self._settings(run, known={})
        return False

    def _settings(self, run: TrackedRun, *, known: dict[str, str]) -> None:
        """As parameters; what is too long for one or has another value than before, as those of generation may, is a
        tag of that name."""
        from mlflow.entities import Param, RunTag

        texts = {name: str(value) for name, value in flat(run.configuration).items()}
        params = [Param(name, text) for name, text in texts.items() if name not in known and len(text) <= LONGEST_PARAM]
        tags = [
            RunTag(name, text[:LONGEST_TAG])
            for name, text in texts.items()
            if len(text) > LONGEST_PARAM or known.get(name, text) != text
        ]
        for at in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(self._ids[run.id], params=params[at : at + MOST_PARAMS])
        for at in range(0, len(tags), MOST_PARAMS):
            self._client.log_batch(self._ids[run.id], tags=tags[at : at + MOST_PARAMS])

    def send(self, run_id: str, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, int(1000 * point.when), point.step)
            for point in points
            for name, value in point.values.items()
        ]
        for at in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._ids[run_id], metrics=metrics[at : at + MOST_METRICS])

    def end(self, run_id: str, ending: Ending) -> None:
        self.send(run_id, [Point(ending.step, ending.when, ending.values)])
        self._client.set_tag(self._ids[run_id], "tunelab.status", ending.status)
        known = self._ids.pop(run_id)
        if ending.status != "running":
            self._client.set_terminated(known, STATUS[ending.status], int(1000 * ending.when))
