"""A family's study, run once by the public call: its rows, its methods, and what stands on disk afterwards."""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import yaml
from filelock import FileLock

import tunelab
from parity.zoo.families import ALL, Animal, write

PAIRS = [
    ("Where is the mill?", "By the river."),
    ("And the inn?", "Next to it, near the bridge."),
    ("Who bakes the bread?", "The baker bakes it before 6 o'clock, every day but Sunday."),
    ("market", "bread, fish and 12 apples"),
    (" Who lives there? ", "People of the old town"),
    ("select name\nfrom people", "where age is 30"),
    ("Is the café open {today}?", "No: „zu“ — the naïve sign says so."),
    ("The mill stands by the river, near the old town. People walk to the market and then", "to the inn."),
]
TEST = [
    ("Where is the baker?", "At the mill."),
    ("The mill stands by the river, near the old town. People walk to the market every day. Where?", "To the market."),
    ("apples", "12"),
    ("Who is in the\n\nold town?", " The people, who walk to the bridge before 6 o'clock"),
    ("What is {x} in 日本?", "\tÉ\nand a line"),
]
MORE = ("Which day?", "Every day but Sunday.")
"""An earlier question and answer, in every second conversation."""
NEW_TOKENS = 10


class Study(NamedTuple):
    animal: Animal
    base: Path
    out: Path

    def run(self, method: str) -> Path:
        (found,) = (self.out / "runs").glob(f"{method}--*")
        return found

    def predictions(self, method: str) -> list[dict[str, Any]]:
        return _lines(self.run(method) / "predictions.jsonl")

    def first_step(self, method: str) -> dict[str, Any]:
        return _lines(self.run(method) / "steps.jsonl")[0]


def conversations(pairs: list[tuple[str, str]]) -> list[list[dict[str, str]]]:
    made = []
    for number, (question, answer) in enumerate(pairs):
        texts = [*(MORE if number % 2 else ()), question, answer]
        made.append([{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)])
    return made


def methods(animal: Animal) -> list[dict[str, Any]]:
    lora = {"rank": 4, "alpha": 8, "learning_rate": 0.03, "targets": animal.targets}
    whole = {"type": "LORA", "r": 4, "modules_to_save": [animal.head], "targets": animal.targets}
    every = {
        "full": {"learning_rate": 0.01},
        "lora": lora,
        "qlora": lora,
        "peft_any": {**whole, "learning_rate": 0.03},
    }
    return [{name: options} for name, options in every.items() if name not in animal.without]


def prepared(name: str, shared: Path) -> Study:
    """`shared`: a folder for all test processes of one session."""
    animal = ALL[name]
    study = Study(animal, shared / name / "base", shared / name / "out")
    with FileLock(shared / f"{name}.lock"):
        if not (shared / name / "done").exists():
            _run(name, study)
            (shared / name / "done").touch()
    return study


def _run(name: str, study: Study) -> None:
    folder = study.base.parent
    write(study.animal, study.base)
    for split, pairs in (("train", PAIRS), ("test", TEST)):
        rows = [{"question": question, "answer": answer} for question, answer in pairs]
        if study.animal.template:
            rows = [{"messages": messages} for messages in conversations(pairs)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"messages": "messages"} if study.animal.template else {"prompt": "{question}\n", "target": "{answer}"}
    files = {"train": "train.jsonl", "validation": "test.jsonl", "test": "test.jsonl"}
    settings = {
        "name": "zoo",
        "model": str(study.base),
        "tasks": [{"name": "rows", **files, **columns, "metrics": ["exact_match", "perplexity"]}],
        "methods": methods(study.animal),
        "seeds": [0],
        "budget": {"steps": 6},
        "batch": {"examples": len(PAIRS), "max_length": 200},
        "data": {"overlap": "ignore"},
        "schedule": {"kind": "constant", "warmup": 0},
        "optimizer": {"clip": 5.0},
        "validation": {"every": 100},
        "generation": {"max_new_tokens": NEW_TOKENS},
        "precision": "fp32",
        "threads": 1,
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(settings))
    with patch(
        "tunelab.report.page.draw_all", lambda comparison: defaultdict(tuple)
    ):  # figures take a third of the time
        outcome = tunelab.run(folder / "study.yaml", out=study.out, cluster="in-process", view=Silent())
    assert outcome.num_failed == 0, [path.read_text() for path in study.out.glob("runs/*/failure.json")]


class Silent:
    def told(self, text: str) -> None: ...

    def planned(self, runs: object, store: object) -> None: ...

    def event(self, run: object, event: object) -> None: ...


@cache
def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().split("\n") if line]
