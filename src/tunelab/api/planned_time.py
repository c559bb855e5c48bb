"""The predicted time of a study in Python: a row a method and task."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tunelab.api.shown import Tabular
from tunelab.launch.control.time_text import time_table, total
from tunelab.report.tables import Table
from tunelab.study.foresight.time import StudyTime


class PlannedTime(Tabular, StudyTime):
    """How long the methods of a study will take on one device."""

    def _parts(self) -> Iterable[Table | str]:
        return [time_table(self), total(self), *self.notes]

    def _rows(self) -> list[dict[str, Any]]:
        """Seconds."""
        return [
            {"method": each.method, "task": each.task, "backend": each.backend, "num_runs": each.num_runs}
            | ({} if each.duration is None else {**each.duration._asdict(), "run": each.duration.all, "all": each.all})
            for each in self.methods
        ]
