"""A task's rows as one run sees them: splits, tokens, and the guards that speak before step 1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tunelab.config.schema import RunConfig
from tunelab.contracts import Task, TextSide
from tunelab.data.counts import LOUD_SHARE, Split, count_notes
from tunelab.data.overlap import find_overlap
from tunelab.data.splits import split_validation
from tunelab.data.tokenise import Tokeniser
from tunelab.errors import DataError
from tunelab.files import write_atomically
from tunelab.records import Example, TokenRow


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
    tokenisers = {name: _tokeniser(name, text, run) for name in splits}
    rows = {
        name: list(tokenisers[name].rows(examples if training or name == "test" else []))
        for name, examples in splits.items()
    }
    counts = {name: tokeniser.counts() for name, tokeniser in tokenisers.items()}
    overlap = find_overlap(train, test)
    summary = {
        "task": task.name,
        "revision": run.data_revision,
        "max_length": run.batch.max_length,
        "validation_drawn_from_train": drawn,
        "splits": {
            name: {"counts": counts[name].model_dump(), "rows": [example.id for example in examples]}
            for name, examples in splits.items()
        },
        "overlap": {**overlap._asdict(), "share_same_row": overlap.share_same_row},
    }
    return RunData(
        rows["train"],
        rows["validation"],
        test,
        rows["test"],
        list(tokenisers["test"].prompts(test)),
        summary,
        [
            *(note for name in splits for note in task.notes(name)),
            *(note for name in splits for note in count_notes(name, counts[name])),
            *_overlap_warnings(overlap.num_same_row, len(test)),
        ],
    )


def write_summary(folder: Path, data: RunData) -> None:
    """The same for every run of the task, so whoever is first writes it."""
    path = folder / "data" / f"{data.summary['task']}.json"
    content = json.dumps(data.summary, indent=1, ensure_ascii=False) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != content:
        write_atomically(path, content)


def _tokeniser(split: Split, text: TextSide, run: RunConfig) -> Tokeniser:
    return Tokeniser(
        text.tokenizer,
        max_length=run.batch.max_length,
        encoder_decoder=text.encoder_decoder,
        settings=run.data,
        split=split,
    )


def _overlap_warnings(same: int, total: int) -> list[str]:
    if same <= LOUD_SHARE * total:
        return []
    return [f"{same} of {total} test examples ({same / total:.1%}) are rows of train: scores measure memory too"]
