"""Forecasts of finished runs, from their real rows, for a report to hold them beside what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tunelab.backends.torch.speed.kept import known
from tunelab.config.run import RunConfig
from tunelab.contracts import Method
from tunelab.entries import FILE, Device, Forecast
from tunelab.errors import DataError
from tunelab.files import write_atomically
from tunelab.stages import stage
from tunelab.study.foresight.duration import duration
from tunelab.study.foresight.known import foreseen
from tunelab.study.foresight.lengths import lengths
from tunelab.study.planning.plan import method_of, parts
from tunelab.study.store import RunFolder, Store


def write_forecasts(runs: Iterable[RunConfig], store: Store, *, told: Callable[[str], None]) -> int:
    """Into the folder of the first finished run of each method, task and back end: other seeds have the same shapes up
    to the lengths of their rows. Returns how many are new. What goes wrong here is told, and no study's failure."""
    done: set[tuple[str, str, str]] = set()
    written = 0
    for run in runs:
        key = (run.method["label"], run.task, run.backend)
        folder = store.run(run.id)
        if key in done or run.parents or run.ranks.count > 1 or not folder.finished:
            continue
        done.add(key)
        try:
            written += _write(run, folder)
        except Exception as error:
            told(
                f"{run.method['label']}: its memory was not predicted: {type(error).__name__}: {error}".splitlines()[0]
            )
    return written


def _write(run: RunConfig, folder: RunFolder) -> bool:
    result, method = folder.read_result(), method_of(run.method)
    if result is None or method is None or not result.largest_batch:
        return False
    on: Device = "cpu" if result.provenance.device == "cpu" else "cuda"
    with stage(f"predicting memory of {run.method['label']}, to compare it"):
        count = max((score.n for score in result.scores.values()), default=None)
        found = foreseen(run, method, result.largest_batch, on=on, num_texts=count)
    found = found and found.model_copy(update={"seconds": _seconds(run, method, found)})
    path = folder.path / FILE
    text = "" if found is None else found.model_dump_json(indent=1, exclude={"efforts"}) + "\n"
    if not text or (path.exists() and path.read_text(encoding="utf-8", errors="replace") == text):
        return False
    write_atomically(path, text)
    return True


def _seconds(run: RunConfig, method: Method, found: Forecast) -> dict[str, float]:
    """Where this machine was measured before, for nothing is measured at the end of a study, and the data is what it
    was."""
    speed = known(threads=run.threads)
    of_run = parts(run)
    try:
        rows = lengths(of_run.task, run)
    except DataError:
        return {}
    if speed is None or not found.efforts or rows is None:
        return {}
    reads = {metric.reads for metric in of_run.metrics.values()}
    took = duration(run, method, found.efforts, rows, speed, reads=reads)
    return {"train": took.train, "evaluate": took.evaluation}
