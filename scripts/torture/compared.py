"""What a results folder is compared with: that of a call which nothing has disturbed. Equal means equal bytes of every
model and every text, and equal numbers of everything that is no time, no memory and no name of a process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MEASURED = ("seconds", "tokens_per_second")
"""Fields of a step that no two executions share."""
RESULT = (
    "run", "method", "task", "seed", "backend", "learning_rate", "scores", "trainable_parameters", "total_parameters",
    "saved_mib", "num_steps", "num_tokens", "num_supervised_tokens", "largest_batch", "validation_loss", "kept_step",
    "optimizer",
)  # fmt: skip
"""What of a result any execution must give."""
BYTES = ("predictions.jsonl", "general.jsonl", "validation.jsonl")
LEFT = (
    "runs/*/checkpoint", "runs/*/.model", "runs/*/texts.jsonl", "runs/*/asked.json", "runs/*/failure.json",
    "runs/*/heartbeat.json", "runs/*/owner-*.json", "owner-*.json", "heartbeat.json", "**/.*.tmp", "**/.writing-*",
    "**/.owner.*", "runs/*/evaluations/.*",
)  # fmt: skip
"""Of work that is over nothing of this may be there."""


def differences(out: Path, undisturbed: Path) -> list[str]:
    """A line for each; none: equal."""
    names = [{path.name for path in (folder / "runs").glob("*")} for folder in (out, undisturbed)]
    if names[0] != names[1]:
        return [f"other runs: {', '.join(sorted(names[0] ^ names[1]))}"]
    if not names[0]:
        return ["no runs"]
    found = []
    for name in sorted(names[0]):
        found += [f"{name}: {text}" for text in _of_run(out / "runs" / name, undisturbed / "runs" / name)]
    for file in sorted((undisturbed / "data").glob("*.json")):
        if _bytes(out / "data" / file.name) != file.read_bytes():
            found.append(f"data/{file.name} differs")
    return found


def _of_run(run: Path, undisturbed: Path) -> list[str]:
    found = [f"{name} differs" for name in BYTES if _bytes(run / name) != _bytes(undisturbed / name)]
    if _steps(run) != _steps(undisturbed):
        found.append("steps.jsonl differs")
    results = [_result(folder) for folder in (run, undisturbed)]
    found += [f"result.json: other {name}" for name in RESULT if results[0].get(name) != results[1].get(name)]
    models = [
        {path.relative_to(folder / "model") for path in (folder / "model").rglob("*") if path.is_file()}
        for folder in (run, undisturbed)
    ]
    found += [f"model/{path} is only in one" for path in sorted(models[0] ^ models[1])]
    for path in sorted(models[0] & models[1]):
        if (run / "model" / path).read_bytes() != (undisturbed / "model" / path).read_bytes():
            found.append(f"model/{path} differs")
    return found


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _steps(run: Path) -> list[dict[str, Any]]:
    lines = (_bytes(run / "steps.jsonl") or b"").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in MEASURED} for line in lines]


def _result(run: Path) -> dict[str, Any]:
    data = _bytes(run / "result.json")
    return {} if data is None else json.loads(data)


def left_behind(out: Path) -> list[str]:
    """Of a results folder that nobody works in."""
    return sorted(f"{path.relative_to(out)} is left" for pattern in LEFT for path in out.glob(pattern))
