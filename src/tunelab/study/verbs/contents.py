"""What is in a results folder, by the records of its runs alone: neither plan nor report is needed."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tunelab.errors import ConfigError
from tunelab.files import last_lines
from tunelab.study.store import RunFolder, Store

MIB = 1024**2


class ListedRun(NamedTuple):
    """One run folder. None: it has none, or not yet."""

    method: str | None
    """The label; None: no run.json that can be read."""
    task: str | None
    seed: int | None
    backend: str | None
    learning_rate: float | None
    state: str
    """finished, running, failed, diverged, stopped (begun, and nobody executes it), waiting, unreadable."""
    metric: str | None
    """The one that decides: the study's, else the task's first."""
    score: float | None
    validation_loss: float | None
    mib: float
    """Of the whole folder, its model included."""
    path: str


class ListedResults(NamedTuple):
    """The results folder of a study."""

    study: str
    num_runs: int
    states: dict[str, int]
    tasks: tuple[str, ...]
    model: str | None
    report: bool
    """Whether report.html is there."""
    mib: float
    path: str


def runs(folder: Path) -> list[ListedRun]:
    """
    Raises:
        ConfigError: no results of `tunelab run`.
    """
    store = Store(folder)
    paths = sorted(path for path in folder.glob("runs/*") if path.is_dir())
    if not paths and not store.study_file.exists():
        others = sorted(path.parent.name for path in folder.glob("*/study.yaml"))
        hint = f"; it holds results of {', '.join(others[:5])}: name one of them" if others else ""
        raise ConfigError(f"{folder}: no results folder of `tunelab run`{hint}")
    metric = _decides(store)
    return sorted((_run(RunFolder(path), metric) for path in paths), key=_place)


def results(folder: Path) -> list[ListedResults]:
    """Of every study whose results lie in `folder`, or are it.

    Raises:
        ConfigError: no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; `tunelab run` writes into results/<study name>")
    files = [*folder.glob("study.yaml"), *sorted(folder.glob("*/study.yaml"))]
    return [_results(file.parent) for file in files if (file.parent / "runs").is_dir()]


def _place(run: ListedRun) -> tuple[Any, ...]:
    """By task, the base first, then by method, seed and rate; what cannot be read last."""
    known = run.method is not None
    return (not known, run.task or "", run.method != "base", run.method or "", run.seed or 0, run.learning_rate or 0.0)


def _run(folder: RunFolder, decides: str | None) -> ListedRun:
    run, result = _read(folder.path / "run.json"), _read(folder.path / "result.json")
    method, scores = run.get("method") or {}, result.get("scores") or {}
    metric = decides if decides in scores else next(iter(scores), None)
    loss = result.get("validation_loss")
    if loss is None and (passes := last_lines(folder.path / "validation.jsonl", 1)):
        with suppress(ValueError):  # it is being written
            loss = json.loads(passes[0])["loss"]
    return ListedRun(
        method.get("label"), run.get("task"), run.get("seed"), run.get("backend"), method.get("learning_rate"),
        _state(folder) if run else "unreadable", metric, scores[metric]["value"] if metric else None, loss,
        _mib(folder.path), str(folder.path),
    )  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    """Empty: there is none, or it cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _state(folder: RunFolder) -> str:
    if folder.damage() is not None:
        return "unreadable"
    if folder.finished:
        return "finished"
    held = folder.held()
    if held is not None and held.alive:
        return "running"
    if folder.failed:
        return "diverged" if folder.divergence() is not None else "failed"
    return "stopped" if folder.attempts() else "waiting"


def _decides(store: Store) -> str | None:
    decision = store.resolved().get("decision")
    return decision.get("metric") if isinstance(decision, dict) else None


def _results(folder: Path) -> ListedResults:
    study = Store(folder).resolved()
    found = [RunFolder(path) for path in sorted(folder.glob("runs/*")) if path.is_dir()]
    read = [_read(run.path / "run.json") for run in found]
    tasks = dict.fromkeys(str(facts["task"]) for facts in read if "task" in facts)
    states = Counter(_state(run) if facts else "unreadable" for run, facts in zip(found, read, strict=True))
    model = study.get("model")
    name = model.get("name") if isinstance(model, dict) else model
    report = (folder / "report.html").exists()
    return ListedResults(
        str(study.get("name", folder.name)), len(found), dict(states), tuple(tasks), name, report, _mib(folder),
        str(folder),
    )  # fmt: skip


def _mib(folder: Path) -> float:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return round(size / MIB, 2)
