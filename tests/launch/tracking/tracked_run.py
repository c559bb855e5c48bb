"""A run's records, written as its worker would, a step at a time; and a tracker that only notes what it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from tunelab.entries import Attempt
from tunelab.study.store import RunFolder
from tunelab.tracker_contract import Ending, Point, TrackedRun, Tracker


class WrittenRun:
    """One run below a results folder."""

    def __init__(self, results: Path, name: str = "lora--task--seed0") -> None:
        self.folder = RunFolder(results / "runs" / name)
        self.folder.path.mkdir(parents=True)
        facts = {
            "id": name, "backend": "torch", "task": "task", "seed": 0, "model": {"name": "/home/ann/models/tiny"},
            "task_options": {"train": "/home/ann/secret/train.jsonl", "prompt": "{question}\n"},
            "method": {"name": "lora", "label": "lora r=2", "rank": 2, "learning_rate": 1e-3},
            "provenance": {"hardware": "a host of ann's"},
        }  # fmt: skip
        (self.folder.path / "run.json").write_text(json.dumps(facts))

    def attempt(self, number: int, *, at: int = 0) -> None:
        """`at`: the steps that are written down at its start."""
        started = f"2026-01-01T0{number}:00:00+00:00"
        made = Attempt(nonce=f"n{number}", host="annspc", pid=1, started=started, progress=(at, 0))
        self.append("attempts.jsonl", made.model_dump_json())

    def steps(self, first: int, last: int, *, loss: float = 1.0) -> None:
        for step in range(first, last + 1):
            facts = {"step": step, "loss": loss / step, "learning_rate": 0.1, "grad_norm": 2.0, "seconds": 10.0}
            counted = {"num_tokens": 9, "num_supervised_tokens": 5, "ema_loss": loss / step}
            self.append("steps.jsonl", json.dumps({**facts, **counted, "tokens_per_second": 5.0 * loss}))

    def validation(self, step: int) -> None:
        facts = {"step": step, "loss": 2.0, "perplexity": 7.4, "bits_per_token": 2.9, "sequence_loss": 9.0}
        facts |= {"epoch": 1.0, "tokens": 5, "sequences": 1}
        self.append("validation.jsonl", json.dumps(facts))

    def finish(self, *, rouge: float = 0.5, steps: int = 4) -> None:
        score = {"value": rouge, "low": 0.4, "high": 0.6}
        phases = {"train": {"seconds": 12.0, "peak_gib": 1.5}, "load": {"seconds": 1.0, "peak_gib": None}}
        facts = {"num_steps": steps, "scores": {"rouge_l": score, "meteor": {"value": None}}, "phases": phases}
        (self.folder.path / "result.json").write_text(json.dumps(facts))
        (self.folder.path / "failure.json").unlink(missing_ok=True)

    def fail(self, error: str = "a row said: my secret") -> None:
        (self.folder.path / "failure.json").write_text(json.dumps({"error": error}))

    def append(self, name: str, line: str) -> None:
        with (self.folder.path / name).open("a") as file:
            file.write(line + "\n")


class Noting(Tracker):
    """Keeps what it is told as a tracker that continues runs would; `keeps = False`: as one that writes them anew."""

    packages: ClassVar[tuple[str, ...]] = ()
    install: ClassVar[str] = ""
    look: ClassVar[str] = ""

    def __init__(self, folder: Path, study: str, *, keeps: bool = True) -> None:
        super().__init__(folder, study)
        self.keeps = keeps
        self.told: list[tuple[str, Any]] = []
        self.points: dict[str, list[Point]] = {}

    def begin(self, run: TrackedRun, *, anew: bool) -> bool:
        self.told.append(("begin", (run.id, anew)))
        there = self.keeps and not anew and run.id in self.points
        if not there:
            self.points[run.id] = []
        return there

    def send(self, run_id: str, points: list[Point]) -> None:
        self.told.append(("send", [point.step for point in points]))
        self.points[run_id] += points

    def end(self, run_id: str, ending: Ending) -> None:
        self.told.append(("end", ending))

    def steps(self, name: str = "train/loss") -> list[int]:
        """Of all points of the one run that have that value, in the order in which they came."""
        (points,) = self.points.values()
        return [point.step for point in points if name in point.values]

    @property
    def endings(self) -> list[Ending]:
        return [what for kind, what in self.told if kind == "end"]
