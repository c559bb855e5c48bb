"""A task's rows as one run sees them: splits, tokens, and the guards that speak before step 1. Kept between starts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tunelab.config.run import RunConfig
from tunelab.contracts import Task
from tunelab.data import cache
from tunelab.data.examples.fingerprint import fingerprint, of_reading, of_tokenizer
from tunelab.data.examples.splits import split_validation
from tunelab.data.overlap.pairs import Overlaps
from tunelab.data.tokens.counts import Split, count_notes
from tunelab.data.tokens.summary import Watched, split_summary
from tunelab.data.tokens.token_store import NamedRow, TokenRows, write_rows
from tunelab.data.tokens.tokenise import Tokeniser
from tunelab.errors import DataError
from tunelab.files import write_atomically
from tunelab.records import Example, TextSide, TokenRow, Turn
from tunelab.stages import counted, stage
from tunelab.study.record_files import UNREADABLE

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class RunData(NamedTuple):
    train: TokenRows
    validation: TokenRows
    test: Sequence[Example]
    test_rows: TokenRows
    """For likelihoods: each test example with its first reference."""
    test_prompts: Sequence[np.ndarray]
    summary: dict[str, Any]
    """data/<task>.json"""
    notes: list[str]
    """What a reader should know: rows left out, targets cut, rows that stand in two splits."""

    @property
    def plain_conversations(self) -> int:
        """Conversations of train that are written in the plain form, the model having no chat template."""
        return self.summary["splits"]["train"]["counts"]["plain_conversations"]


def prepare(task: Task, text: TextSide, run: RunConfig, *, training: bool) -> RunData:
    """Read, split and tokenise, or take what an earlier start has kept of the same; the base model (not `training`)
    needs the test split only.

    Raises:
        DataError: an empty split, or nothing to supervise; or other data than the run's, or than when reading began.
    """
    revision = run.data_revision or task.fingerprint()
    key = _key(task, text, run, training=training)
    notes = []

    def made(folder: Path | None) -> RunData:
        data = _prepared(task, text, run, training, folder)
        if task.fingerprint() != revision:  # what was read would be kept under the name of what it is not
            raise DataError(f"task {task.name}: its data changed before all of it was read; start again")
        return data

    try:
        data = _read(cache.find(key) or cache.add(key, lambda folder: _write(made(folder), folder)))
    except OSError as error:
        reason = error.strerror or str(error)
        notes.append(f"{cache.cache_folder()}: prepared data cannot be kept there ({reason}), so it is kept in memory")
        data = made(None)
    about = {"task": task.name, "revision": run.data_revision}
    return data._replace(summary={**about, **data.summary}, notes=[*notes, *data.notes])


def write_summary(folder: Path, data: RunData) -> None:
    """The same for every run of the task, so whoever is first writes it.

    Raises:
        DataError: runs in this folder were trained on other rows of the same data.
    """
    path = folder / "data" / f"{data.summary['task']}.json"
    content = json.dumps(data.summary, indent=1, ensure_ascii=False) + "\n"
    earlier = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    if earlier == content:
        return
    if others := _other_rows(earlier, data.summary):
        raise DataError(
            f"task {data.summary['task']}: the runs in {folder} were made with other rows of {' and '.join(others)}, "
            "which another version of tunelab drew from the same data; runs on both cannot be compared. Run the study "
            f"with --out and another folder, or delete the task's runs and {path}"
        )
    write_atomically(path, content)


def _other_rows(text: str, now: Mapping[str, Any]) -> list[Split]:
    """The splits of which an earlier start had other rows, where data, task and study asked for the same ones. `text`:
    what it has written; of a damaged one nothing is known, and it is written anew."""
    try:
        earlier = json.loads(text)
        asked = [(one["revision"], bool((one["overlap"] or {}).get("removed_from_train"))) for one in (earlier, now)]
        rows = {name: earlier["splits"][name]["rows"] for name in SPLITS}
    except UNREADABLE:
        return []
    return [name for name in SPLITS if rows[name] != now["splits"][name]["rows"]] if asked[0] == asked[1] else []


def _key(task: Task, text: TextSide, run: RunConfig, *, training: bool) -> str:
    """Over everything that can change what `_prepared` gives."""
    reading = of_reading(task, Path(__file__), rows=run.data_revision)
    options = {
        "tokenizer": of_tokenizer(text.tokenizer),
        "encoder_decoder": text.encoder_decoder,
        "max_length": run.batch.max_length,
        "data": run.data.model_dump(mode="json"),
        "training": training,
        "versions": [version(name) for name in ("transformers", "tokenizers", "pyarrow")],
    }
    return f"{type(task).__name__.lower()}-{fingerprint(options={'reading': reading, **options})}"


def _prepared(task: Task, text: TextSide, run: RunConfig, training: bool, folder: Path | None) -> RunData:
    """The data itself; token rows lie in the folder, or in memory."""
    with stage(f"reading the data of {task.name}"):
        train, validation, test = (task.examples(split) for split in SPLITS)
    drawn = not len(validation)
    if drawn:
        with stage(f"drawing validation rows of {task.name}"):
            train, validation = split_validation(train)
    for name, examples in (("train", train), ("test", test)):
        if not len(examples):
            raise DataError(f"task {task.name}: no rows in {name}")
    overlaps = None
    if run.data.overlap != "ignore":
        with stage(f"looking for overlap in {task.name}: validation and test"):
            overlaps = Overlaps(validation, test, remove=run.data.overlap == "remove")
        validation = overlaps.validation
    watched = {
        "train": Watched(overlaps.watch(train) if overlaps else train),
        "validation": Watched(validation),
        "test": Watched(test),
    }
    tokenisers = {name: _tokeniser(name, text, run) for name in SPLITS}
    rows = {}
    for name in SPLITS:
        used = training or name == "test"
        what = f"tokenising {name} of {task.name}" + (", looking for overlap" if overlaps and name == "train" else "")
        made = counted(watched[name].named(tokenisers[name].rows(watched[name] if used else ())), what)
        rows[name] = write_rows(made, folder and folder / f"{name}.arrow")
        watched[name].finish()
    for name in ("train", "validation"):
        if not watched[name].num_examples:
            assert overlaps is not None, f"{name} was empty before"
            raise DataError(f"task {task.name}: {overlaps.nothing_left(name, drawn=drawn)}")
    counts = {name: tokeniser.counts() for name, tokeniser in tokenisers.items()}
    summary = {
        "max_length": run.batch.max_length,
        "validation_drawn_from_train": drawn,
        "splits": {name: split_summary(counts[name], watched[name], rows[name]) for name in SPLITS},
        "overlap": None if overlaps is None else overlaps.summary(),
    }
    notes = [
        *(note for name in SPLITS for note in task.notes(name)),
        *(note for name in SPLITS for note in count_notes(name, counts[name])),
        *(["overlap of train, validation and test was not looked for"] if overlaps is None else overlaps.notes()),
    ]
    prompts = list(tokenisers["test"].prompts(test))
    scored = list(tokenisers["test"].as_written(test))
    return RunData(rows["train"], rows["validation"], scored, rows["test"], prompts, summary, notes)


def _write(data: RunData, folder: Path) -> None:
    """What `_prepared` has left in memory."""
    prompts = (TokenRow(number, ids, np.zeros(len(ids), bool)) for number, ids in enumerate(data.test_prompts))
    write_rows((NamedRow(row, "") for row in prompts), folder / "prompts.arrow")
    test = "".join(json.dumps(example._asdict()) + "\n" for example in data.test)
    (folder / "test.jsonl").write_text(test, encoding="utf-8")
    facts = {"summary": data.summary, "notes": data.notes}
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def _read(folder: Path) -> RunData:
    """What `_prepared` and `_write` have written. Raises OSError when another process has just deleted it."""
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    with (folder / "test.jsonl").open(encoding="utf-8") as lines:
        test = [_example(json.loads(line)) for line in lines]
    train, validation, test_rows, prompts = (TokenRows.open(folder / f"{name}.arrow") for name in (*SPLITS, "prompts"))
    return RunData(train, validation, test, test_rows, [row.ids for row in prompts], facts["summary"], facts["notes"])


def _example(fields: dict[str, Any]) -> Example:
    turns = tuple(Turn(*turn) for turn in fields["turns"])
    asked, learned = (tuple((start, stop) for start, stop in spans) for spans in fields["control"])
    rest = {"references": tuple(fields["references"]), "turns": turns, "control": (asked, learned)}
    return Example(**{**fields, **rest})


def _tokeniser(split: Split, text: TextSide, run: RunConfig) -> Tokeniser:
    return Tokeniser(
        text.tokenizer,
        max_length=run.batch.max_length,
        encoder_decoder=text.encoder_decoder,
        settings=run.data,
        split=split,
    )
