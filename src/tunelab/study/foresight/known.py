"""Forecasts that are known already, else made: as parameter counts, they follow from a run's configuration alone."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tunelab.config.run import RunConfig
from tunelab.contracts import Method
from tunelab.data.kept import digest, is_known, looked_up
from tunelab.entries import Device, Forecast
from tunelab.models.load import read_configuration
from tunelab.records import RowSize
from tunelab.study.foresight.texts import generates, with_texts
from tunelab.study.planning.plan import load_backend

READ = ("precision", "weights", "activation_checkpointing", "optimizer", "loss")
"""Settings of a run that its memory follows from, beside model, method and rows."""


def foreseen(
    run: RunConfig, method: Method, rows: Sequence[RowSize], *, on: Device, num_texts: int | None = None
) -> Forecast | None:
    """Of the run whose largest micro-batch has these rows. None: it cannot be told, as of a run that trains nothing."""
    if not rows or not method.trains:
        return None

    def make() -> object:
        found = load_backend(run.backend).foresee(run, method, rows, on=on)
        return None if found is None else found.model_dump(mode="json")

    found = looked_up(_key(run, rows, on), make)
    if found is None:
        return None
    told = Forecast.model_validate(found)
    return with_texts(told, run, method, rows, num_texts=num_texts) if generates(run) else told


def is_foreseen(run: RunConfig, method: Method, rows: Sequence[RowSize], *, on: Device) -> bool:
    """Whether it need not be made."""
    return not rows or not method.trains or is_known(_key(run, rows, on))


def _key(run: RunConfig, rows: Sequence[RowSize], on: Device) -> str:
    options = {name: value for name, value in run.method.items() if name not in ("label", "learning_rate")}
    settings = {name: getattr(run, name) for name in READ}
    known = [on, run.backend, read_configuration(run.model), run.model.tokens, options, settings, rows]
    return f"forecast-{digest(json.dumps(known, default=str, sort_keys=True))}"
