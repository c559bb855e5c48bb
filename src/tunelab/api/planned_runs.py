"""The planned runs of a study in Python: a row a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tunelab.api.shown import Tabular
from tunelab.launch.printing import plan_table
from tunelab.report.tables import Table
from tunelab.study.planning.preview import Preview


class PlannedRuns(Tabular, Preview):
    """What a study will execute, a row a run."""

    def _parts(self) -> Iterable[Table | str]:
        return [plan_table(self)]

    def _rows(self) -> list[dict[str, Any]]:
        return [run._asdict() for run in self.runs]
