"""A task's rows as one run sees them: splits, tokens, and the guards that speak before step 1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tunelab.config.schema import RunConfig
from tunelab.contracts import Task, TextSide
from tunelab.data.overlap import find_overlap
from tunelab.data.splits import split_validation
from tunelab.data.tokenise import Tokenised, prompt_ids, tokenise
from tunelab.errors import DataError
from tunelab.files import write_atomically
from tunelab.records import Example, TokenRow

LOUD_SHARE = 0.01
"""Targets cut, or test rows found in train: above this share it is a warning in the report."""


class RunData(NamedTuple):
    train: list[TokenRow]
    validation: list[TokenRow]
    test: list[Example]
    test_rows: list[TokenRow]
    """For likelihoods: each test example with its first reference."""
    test_prompts: list[np.ndarray]
    summary: dict[str, Any]
    """data/<task>.json"""
    notes: list[str]
    """What a reader should know: rows left out, targets cut, test rows that stand in train."""


def prepare(task: Task, text: TextSide, run: RunConfig, *, training: bool) -> RunData:
    """Read, split and tokenise; the base model (not `training`) needs the test split only.

    Raises:
        DataError: an empty split, or nothing to supervise.
    """
    train, validation, test = (task.examples(split) for split in ("train", "validation", "test"))
    drawn = not validation
    if drawn:
        train, validation = split_validation(train)
    for name, examples in (("train", train), ("test", test)):
        if not examples:
            raise DataError(f"task {task.name}: no rows in {name}")
    splits = {"train": train, "validation": validation, "test": test}
    tokenised = {
        name: _tokenise(examples if training or name == "test" else [], text, run) for name, examples in splits.items()
    }
    prompts = prompt_ids(
        test,
        text.tokenizer,
        max_length=run.batch.max_length,
        encoder_decoder=text.encoder_decoder,
    )
    overlap = find_overlap(train, test)
    summary = {
        "task": task.name,
        "revision": run.data_revision,
        "max_length": run.batch.max_length,
        "validation_drawn_from_train": drawn,
        "splits": {
            name: {"counts": tokenised[name].counts.model_dump(), "rows": [example.id for example in examples]}
            for name, examples in splits.items()
        },
        "overlap": {**overlap._asdict(), "share_same_row": overlap.share_same_row},
    }
    return RunData(
        tokenised["train"].rows,
        tokenised["validation"].rows,
        test,
        tokenised["test"].rows,
        [np.asarray(prompt.ids, dtype=np.int32) for prompt in prompts],
        summary,
        [
            *(note for name in splits for note in task.notes(name)),
            *_cut_warnings(tokenised),
            *_overlap_warnings(overlap.num_same_row, len(test)),
        ],
    )


def write_summary(folder: Path, data: RunData) -> None:
    """The same for every run of the task, so whoever is first writes it."""
    path = folder / "data" / f"{data.summary['task']}.json"
    content = json.dumps(data.summary, indent=1, ensure_ascii=False) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != content:
        write_atomically(path, content)


def _tokenise(examples: list[Example], text: TextSide, run: RunConfig) -> Tokenised:
    return tokenise(examples, text.tokenizer, max_length=run.batch.max_length, encoder_decoder=text.encoder_decoder)


def _cut_warnings(tokenised: dict[str, Tokenised]) -> list[str]:
    warnings = []
    for name, (_, counts) in tokenised.items():
        for what, number in (("targets", counts.targets_cut), ("prompts", counts.prompts_cut)):
            share = number / max(counts.rows, 1)
            if number and (what == "targets" or share > LOUD_SHARE):
                warnings.append(f"{name}: {number} of {counts.rows} {what} ({share:.1%}) cut at batch.max_length")
    return warnings


def _overlap_warnings(same: int, total: int) -> list[str]:
    if same <= LOUD_SHARE * total:
        return []
    return [f"{same} of {total} test examples ({same / total:.1%}) are rows of train: scores measure memory too"]
