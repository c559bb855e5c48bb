"""Forecasts of finished runs, from their real rows, for a report to hold them beside what was measured."""

from __future__ import annotations

from collections.abc import Iterable

from tunelab.config.run import RunConfig
from tunelab.entries import FILE, Device
from tunelab.files import write_atomically
from tunelab.stages import stage
from tunelab.study.foresight.known import foreseen
from tunelab.study.planning.plan import method_of
from tunelab.study.store import Store


def write_forecasts(runs: Iterable[RunConfig], store: Store) -> None:
    """Into the folder of the first finished run of each method, task and back end, where none lies there: other seeds
    have the same shapes up to the lengths of their rows."""
    done: set[tuple[str, str, str]] = set()
    for run in runs:
        key = (run.method["label"], run.task, run.backend)
        folder = store.run(run.id)
        if key in done or run.parents or run.ranks.count > 1 or not folder.finished:
            continue
        result = folder.read_result()
        if result is None or not result.largest_batch:
            continue
        done.add(key)
        method = method_of(run.method)
        if method is None or (folder.path / FILE).exists():
            continue
        on: Device = "cpu" if result.provenance.device == "cpu" else "cuda"
        with stage(f"predicting memory of {run.method['label']}, to compare it"):
            found = foreseen(run, method, result.largest_batch, on=on)
        if found is not None:
            write_atomically(folder.path / FILE, found.model_dump_json(indent=1) + "\n")
