"""Forecasts of a study's runs that are known already, else made: as `counts`, of the run's configuration."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tunelab.config.run import RunConfig
from tunelab.contracts import Method
from tunelab.data.kept import digest, looked_up
from tunelab.foresight.forecast import Forecast
from tunelab.models.load import read_configuration
from tunelab.records import RowSize
from tunelab.study.planning.plan import load_backend, method_of

READ = ("precision", "weights", "activation_checkpointing", "optimizer", "loss", "batch", "generation", "threads")
"""Sections of a run that its memory follows from, beside the model and the method."""


def predicted(run: RunConfig, rows: Sequence[RowSize], method: Method | None = None) -> Forecast | None:
    """Of the run whose largest micro-batch has these rows. None: it cannot be told, as that of a run that trains
    nothing."""
    if method is None:
        method = method_of(run.method)
    if not rows:
        return None
    backend = load_backend(run.backend)
    known = [backend.device(), read_configuration(run.model), run.method, *(getattr(run, name) for name in READ), rows]
    key = f"forecast-{digest(json.dumps(known, default=str, sort_keys=True))}"

    def make() -> dict[str, object] | None:
        found = backend.foresee(run, method, rows)
        return None if found is None else found.model_dump(mode="json")

    found = looked_up(key, make)
    return None if found is None else Forecast.model_validate(found)
