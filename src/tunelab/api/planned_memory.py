"""The predicted memory of a study in Python: a row a method and task."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tunelab.api.shown import Tabular
from tunelab.launch.control.memory_text import memory_table, ways
from tunelab.report.tables import Table
from tunelab.study.foresight.memory import StudyMemory


class PlannedMemory(Tabular, StudyMemory):
    """What the methods of a study will need on one device."""

    def _parts(self) -> Iterable[Table | str]:
        return [memory_table(self), *ways(self), *self.notes]

    def _rows(self) -> list[dict[str, Any]]:
        """Bytes of the train phase by part, and the peak of all phases."""
        return [
            {"method": each.method, "task": each.task, "backend": each.backend, "fits": each.fits}
            | ({} if each.forecast is None else {"peak": each.forecast.peak, **each.forecast.train})
            for each in self.methods
        ]
