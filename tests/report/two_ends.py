"""Writes a study on two back ends: the runs of study_folder.py, and the same records as another back end's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest import mock

from report.study_folder import METRICS, write_study
from tunelab.entries import RunEntry, StudyRuns
from tunelab.report.alignment.pairs import Beside, beside_first
from tunelab.report.alignment.section import Alignment, alignments
from tunelab.report.frame import build_comparison


def two_ends(folder: Path, *, others: tuple[str, ...] = ("jittor",), **facts: Any) -> StudyRuns:
    """The first is torch. Its records and those of the others are the same, letter for letter."""
    study = write_study(folder, **{"tasks": ("restaurants",), "methods": ("base", "full", "lora r=4")} | facts,
                        spoil=False)  # fmt: skip
    runs = list(study.runs)
    for name in others:
        for entry in study.runs:
            twin = entry._replace(id=f"{name}-{entry.id}", backend=name)
            shutil.copytree(home(study, entry), home(study, twin))
            for file, key in (("result.json", "run"), ("run.json", "id")):
                change(home(study, twin) / file, **{key: twin.id, "backend": name})
            runs.append(twin)
    return study._replace(runs=tuple(runs))


def home(study: StudyRuns, entry: RunEntry) -> Path:
    return study.folder / "runs" / entry.id


def of(study: StudyRuns, backend: str, method: str, seed: int = 0) -> Path:
    """The folder of one run."""
    return next(
        home(study, each) for each in study.runs if (each.backend, each.method, each.seed) == (backend, method, seed)
    )


def change(file: Path, **fields: Any) -> None:
    """Of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def change_lines(file: Path, changed: Callable[[int, dict[str, Any]], dict[str, Any]]) -> None:
    """Of a file of JSON lines; `changed` gets the place and the record, and returns fields to replace."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(line | changed(place, line)) + "\n" for place, line in enumerate(lines)))


def set_series(file: Path, **values: Iterable[float]) -> None:
    """The first lines get these values, the others are gone."""
    columns = {name: list(each) for name, each in values.items()}
    length = min(map(len, columns.values()))
    kept = file.read_text().splitlines()[:length]
    assert len(kept) == length
    file.write_text("\n".join(kept) + "\n")
    change_lines(file, lambda place, _: {name: each[place] for name, each in columns.items()})


def score(folder: Path, changed: Callable[[float], float]) -> None:
    """Changes the rouge_l of every example, and the run's."""
    values = []

    def of_example(_: int, line: dict[str, Any]) -> dict[str, Any]:
        value = changed(line["statistics"]["rouge_l"][0])
        values.append(value)
        return {"statistics": line["statistics"] | {"rouge_l": [value, 1.0]}}

    change_lines(folder / "predictions.jsonl", of_example)
    scores = json.loads((folder / "result.json").read_text())["scores"]
    scores["rouge_l"]["value"] = sum(values) / len(values)
    change(folder / "result.json", scores=scores)


def beside(study: StudyRuns) -> Beside:
    (found,) = beside_first(build_comparison([study], metrics=METRICS))
    return found


def aligned(study: StudyRuns) -> Alignment:
    """Without its figures, which take most of the time."""
    with mock.patch("tunelab.report.alignment.section.figures", return_value=()):
        (found,) = alignments(build_comparison([study], metrics=METRICS), METRICS)
    return found
