"""Records of studies that are hard to show: many methods and tasks, long labels, failed runs, missing metrics."""

from __future__ import annotations

import json
from pathlib import Path

from report import study_folder
from report.study_folder import METRICS, write_failure, write_run
from tunelab.entries import RunEntry, StudyRuns
from tunelab.report.write import write_report

KINDS = {
    "full": {"optimizer": "adamw"},
    "lora": {"rank": 8, **study_folder.LORA},
    "dora": {"rank": 16, "alpha": 16.0, "dropout": 0.05, "targets": ["c_attn", "c_proj"]},
    "galore": {"rank": 64, "update_gap": 200, "scale": 0.25, "targets": "all-linear", "projector": "subspace"},
    "rosa": {"rank": 8, "alpha": 16.0, "density": 0.006, "targets": "all-linear", "dropout": 0.0},
    "qlora": {"rank": 64, "alpha": 16.0, "dropout": 0.1, "targets": r".*\\.(q|v)_proj", "base": "nf4"},
}
LONG = "with rank-stabilised scaling on every linear layer of the decoder, seed-matched, variant {}"
MORE = ("bleu:e2e", "nist:e2e-python", "rouge_1", "chrf", "bits_per_byte", "gsm8k_exact_match:flexible")
OUT_OF_MEMORY = "OutOfMemoryError: 22.31 GiB of 24 GiB are taken; give a smaller batch.max_tokens or another method"
NO_MODEL = "the model roberta-large is not on this machine, and there is no network"


def labels(number: int, *, long: bool = False) -> tuple[str, ...]:
    """Names of as many methods; long ones differ in the middle or at the end only."""
    names = []
    for place in range(number):
        kind = list(KINDS)[place % len(KINDS)]
        turn = place // len(KINDS)
        names.append(f"{kind} {LONG.format(place)}" if long else kind if turn == 0 else f"{kind} r={8 * 2**turn}")
    return tuple(names)


def write_many(
    folder: Path, *, num_methods: int, num_tasks: int = 1, long: bool = False, spoil: bool = False,
    seeds: tuple[int, ...] = (0, 1, 2), num_examples: int = 40, steps: int = 60, more_metrics: bool = False,
) -> StudyRuns:  # fmt: skip
    """`more_metrics`: eight in all.

    `spoil`: the second method's last seed failed, all of the last method's did, one run is not there, and one metric
    is missing for one method and for one seed of another."""
    methods = labels(num_methods, long=long)
    for place, label in enumerate(methods):
        options = KINDS[list(KINDS)[place % len(KINDS)]]
        skill = 0.55 + 0.2 * float(study_folder._random("skill", place).random())
        study_folder.MADE_UP[label] = (skill, 0.4 + 0.35 * (place * 5 % 7), 30.0 + 11 * (place * 3 % 8), options)
    tasks = ("restaurants", "headlines", "arithmetic")[:num_tasks]
    if long:
        tasks = tuple(f"{task} as written by the visitors of the city in the year 2019" for task in tasks)
    entries = []
    for task in tasks:
        entries.append(RunEntry(f"base-{task}", "base", task, 0, "torch", None, "base", 0))
        for place, method in enumerate(methods):
            entries += [
                RunEntry(f"m{place}-{task}-{seed}", method, task, seed, "torch", 2e-4, "run", 1) for seed in seeds
            ]
    try:
        _write(folder, entries, methods, spoil=spoil, num_examples=num_examples, steps=steps)
    finally:
        study_folder.MADE_UP.clear()  # other tests have methods of these names
    for entry in entries if more_metrics else ():
        _add_metrics(folder / "runs" / entry.id)
    return StudyRuns("many", folder, tuple(entries))


def _write(folder: Path, entries, methods, *, spoil: bool, num_examples: int, steps: int) -> None:
    first, last_seed = entries[0].task, entries[-1].seed
    for entry in entries:
        home = folder / "runs" / entry.id
        is_last, on_first = entry.seed == last_seed, entry.task == first
        if spoil and entry.method == methods[-1]:
            write_failure(home, entry, OUT_OF_MEMORY)
        elif spoil and on_first and is_last and entry.method == methods[1]:
            write_failure(home, entry, "the loss is not finite at step 12")
        elif not (spoil and on_first and is_last and entry.method == methods[0] and len(methods) > 2):
            write_run(home, entry, num_examples=num_examples, steps=steps)
            if spoil and (entry.method == methods[1] or (entry.method == "base" and on_first)):
                _take_away(home, "loss")


def write_pages(folder: Path, study: StudyRuns) -> Path:
    """The report of it, whole; its page."""
    facts = {"model": "tunelab/tiny", "tasks": sorted({entry.task for entry in study.runs}), "budget": {"epochs": 3}}
    write_report(study, metrics=METRICS | dict.fromkeys(MORE, METRICS["rouge_l"]), folder=folder, config_facts=facts)
    return folder / "report.html"


def _add_metrics(home: Path) -> None:
    path, lines = home / "result.json", home / "predictions.jsonl"
    if not path.exists():
        return
    result = json.loads(path.read_text())
    result["scores"] |= {name: result["scores"]["rouge_l"] for name in MORE}
    path.write_text(json.dumps(result))
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    for row in rows:
        row["statistics"] |= {name: row["statistics"]["rouge_l"] for name in MORE}
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _take_away(home: Path, metric: str) -> None:
    path = home / "result.json"
    result = json.loads(path.read_text())
    result["scores"][metric] |= {"value": None, "low": None, "high": None, "missing": NO_MODEL}
    path.write_text(json.dumps(result))
    rows = [json.loads(line) for line in (home / "predictions.jsonl").read_text().splitlines()]
    for row in rows:
        del row["statistics"][metric]
    (home / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
