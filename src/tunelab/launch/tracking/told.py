"""What trackers are told of a run, from its records: settings, tags, points and how it ended. No text, no weights."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from tunelab.entries import Attempt
from tunelab.study.store import RunFolder
from tunelab.tracker_contract import Ending, Point, TrackedRun

HOST = "TUNELAB_TRACK_HOST"
"""Set to 1: the name of the host that executed the run is told, as a tag."""

STEP = {
    "loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "grad_norm": "train/grad_norm",
    "tokens_per_second": "train/tokens_per_second",
}
"""Field of steps.jsonl -> name."""
VALIDATION = {"loss": "eval/loss", "perplexity": "eval/perplexity", "bits_per_token": "eval/bits_per_token"}
USAGE = {
    "tokens_per_second": "usage/tokens_per_second",
    "trainable_parameters": "usage/trainable_parameters",
    "saved_mib": "usage/saved_mib",
}


class RunTold(NamedTuple):
    run: TrackedRun
    first: str
    """Tells a run that was trained anew, in a folder that was deleted, from the one before."""


def run_told(folder: RunFolder, study: str, attempts: Sequence[Attempt]) -> RunTold:
    """
    Raises:
        OSError, ValueError, KeyError: there is no run.json, or it cannot be read.
    """
    facts = json.loads((folder.path / "run.json").read_text(encoding="utf-8"))
    if not isinstance(facts, dict):
        raise ValueError(f"{folder.path / 'run.json'} holds no run")
    configuration = _without_folders({key: value for key, value in facts.items() if key not in ("id", "provenance")})
    method, model = configuration["method"], configuration["model"]
    tags = {
        "study": study, "run": folder.path.name, "method": method.get("label", method["name"]),
        "task": configuration["task"], "seed": str(configuration["seed"]), "backend": configuration["backend"],
        "model": model["name"] if isinstance(model, Mapping) else str(model),
    }  # fmt: skip
    if os.environ.get(HOST) == "1" and attempts:
        tags["host"] = attempts[-1].host
    began = _seconds(attempts[0].started) if attempts else (folder.path / "run.json").stat().st_mtime
    run = TrackedRun(folder.path.name, study, tags["method"], began, configuration, tags)
    return RunTold(run, attempts[0].nonce if attempts else "")


def _without_folders(value: Any) -> Any:
    """Of an absolute path its last name: where it lies is a matter of this machine, and often says whose it is."""
    if isinstance(value, Mapping):
        return {key: _without_folders(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_folders(each) for each in value]
    is_path = isinstance(value, str) and os.path.isabs(value) and value.isprintable()
    return Path(value).name or value if is_path else value


class Clock:
    """When each step was: the start of the attempt that made it, and the seconds of the attempt's steps until then.
    Loading and validation are not counted."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._attempt: str | None = None
        self._seconds = 0.0
        self.now = began

    def step(self, step: int, seconds: float, attempts: Sequence[Attempt]) -> float:
        """Of the next step, in their order."""
        attempt = next((each for each in reversed(attempts) if each.progress[0] < step), None)
        if attempt is not None and attempt.nonce != self._attempt:
            self._attempt, self._began, self._seconds = attempt.nonce, _seconds(attempt.started), 0.0
        self._seconds += seconds
        self.now = self._began + self._seconds
        return self.now


class Line(NamedTuple):
    """A line of steps.jsonl or validation.jsonl."""

    step: int
    seconds: float
    values: dict[str, float]


def lines_told(texts: Sequence[str], names: Mapping[str, str]) -> Iterator[Line]:
    """Those that can be read; what is not finite is left out."""
    for text in texts:
        try:
            facts = json.loads(text)
            step, seconds = int(facts["step"]), float(facts.get("seconds") or 0.0)
        except (ValueError, KeyError, TypeError):
            continue  # half a line of a host that went down; the run's own reading says so
        yield Line(step, seconds, _numbers(facts, names))


def merged(steps: Sequence[Point], validations: Sequence[Point]) -> list[Point]:
    """In the order of their steps; at one step, one point."""
    found: dict[int, Point] = {}
    for point in (*steps, *validations):
        earlier = found.get(point.step)
        found[point.step] = point if earlier is None else earlier._replace(values={**earlier.values, **point.values})
    return [found[step] for step in sorted(found)]


class EndingTold(NamedTuple):
    ending: Ending
    digest: str
    """Of what says so: another one where the run was scored again."""


def ending_told(folder: RunFolder, step: int) -> EndingTold | None:
    """None: neither a result nor a named failure, or it is being written.

    Args:
        step: the last one that is known; of a failure.
    """
    for name in ("result.json", "failure.json"):
        path = folder.path / name
        try:
            when, text = path.stat().st_mtime, path.read_bytes()
            facts = json.loads(text)
        except (OSError, ValueError, RecursionError):
            continue
        if not isinstance(facts, dict):
            continue
        if name == "result.json":
            ending = Ending("finished", facts.get("num_steps") or 0, when, result_values(facts))
        else:
            ending = Ending("diverged" if "diverged" in facts else "failed", step, when, {})
        return EndingTold(ending, hashlib.sha256(text).hexdigest()[:16])
    return None


def result_values(facts: Mapping[str, Any]) -> dict[str, float]:
    """Scores and costs of a result.json, by the names that trackers get."""
    values = _numbers(facts, USAGE)
    for name, score in facts.get("scores", {}).items():
        values |= _numbers(score, {"value": f"test/{name}"})
        values |= _numbers(score, {"low": f"test_interval/{name}_low", "high": f"test_interval/{name}_high"})
    for phase, cost in facts.get("phases", {}).items():
        values |= _numbers(cost, {"seconds": f"usage/{phase}_seconds", "peak_gib": f"usage/{phase}_peak_gib"})
    return values


def _numbers(facts: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, float]:
    found = {name: facts.get(key) for key, name in names.items()}
    return {name: float(each) for name, each in found.items() if isinstance(each, (int, float)) and math.isfinite(each)}


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
