"""Records of a run: what is written reads back, and whatever bytes a file has, it is one or is named as damaged."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from properties import SAME_EVERY_TIME
from tunelab.errors import UnreadableRun
from tunelab.records import Prediction, StepRecord, ValidationRecord
from tunelab.study.executing.text_log import TextLog
from tunelab.study.record_files import damage, evaluation_damage, plain_values
from tunelab.study.store import RunFolder

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
STEPS = st.builds(
    StepRecord, step=st.integers(1, 10**6), loss=FLOATS, learning_rate=FLOATS, grad_norm=st.none() | FLOATS,
    num_tokens=st.integers(0, 10**9), num_supervised_tokens=st.integers(0, 10**9), seconds=FLOATS, ema_loss=FLOATS,
    tokens_per_second=FLOATS,
)  # fmt: skip
PREDICTIONS = st.builds(
    Prediction, id=WORDS, prompt=WORDS, prediction=st.none() | WORDS, references=st.lists(WORDS).map(tuple),
    loss_sum=st.none() | FLOATS, num_tokens=st.none() | st.integers(0, 9),
    statistics=st.dictionaries(WORDS, st.lists(FLOATS, max_size=3).map(tuple), max_size=2),
)  # fmt: skip
VALIDATIONS = st.builds(
    ValidationRecord, step=st.integers(0, 99), epoch=FLOATS, loss=FLOATS, sequence_loss=FLOATS, perplexity=FLOATS,
    bits_per_token=FLOATS, tokens=st.integers(0, 99), sequences=st.integers(0, 99),
)  # fmt: skip
READERS = {
    "result.json": lambda folder: folder.read_result(),
    "run.json": lambda folder: folder.read_run(),
    "steps.jsonl": lambda folder: (folder.last_step(), folder.progress, folder.steps()),
    "predictions.jsonl": lambda folder: folder.read_predictions(),
    "attempts.jsonl": lambda folder: folder.attempts(),
    "failure.json": lambda folder: (folder.failure(), folder.divergence()),
    "harness.json": lambda folder: folder.harness_tasks(),
    "asked.json": lambda folder: folder.evaluations.asked(),
    "owner-000001.json": lambda folder: folder.held(),
    "heartbeat.json": lambda folder: folder.held(),
}
PIECES = st.sampled_from(
    [b"{", b"}", b"[", b"]", b'"a": ', b"1", b"null", b"\n", b"\0", b"\xff", b"NaN", b"1e999", b'"step"']
)
CONTENTS = st.binary(max_size=60) | st.lists(PIECES, max_size=9).map(b"".join)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "runs" / "one").mkdir(parents=True)
    return RunFolder(tmp_path / "runs" / "one")


@SAME_EVERY_TIME
@given(st.lists(STEPS, max_size=4), st.lists(PREDICTIONS, max_size=4), st.lists(VALIDATIONS, max_size=3))
def test_what_is_written_reads_back(folder, steps, predictions, validations):
    for name in ("steps.jsonl", "validation.jsonl"):
        (folder.path / name).unlink(missing_ok=True)
    for record in steps:
        folder.step(record)
    for record in validations:
        folder.validation(record)
    folder.write_predictions(predictions)
    assert folder.steps() == steps and folder.read_predictions() == predictions
    assert folder.last_step() == (steps[-1] if steps else None)
    assert damage(folder.path) is None and evaluation_damage(folder.path) is None
    folder.rewind(step=50)
    assert folder.steps() == [record for record in steps if record.step <= 50]


@SAME_EVERY_TIME
@given(st.sampled_from(sorted(READERS)), CONTENTS)
@example("result.json", b"[" * 100_000)
@example("run.json", b'{"a": ' * 5000)
@example("steps.jsonl", b'{"step": 1}\n' * 3)
@example("failure.json", b'{"error": [1]}')
@example("failure.json", b'"error"')
@example("harness.json", b'{"tasks": 3}')
@example("asked.json", b"9" * 5000)
@example("owner-000001.json", b"[1, 2, 3, 4, 5, 6, 7]")
@example("owner-000001.json", b'{"host": 1, "boot": 2, "namespace": 3, "pid": "x", "start": 5, "since": 6, "nonce": 7}')
@example("heartbeat.json", b'{"nonce": 1}')
def test_any_bytes_are_a_record_or_are_named(folder, name, content):
    for path in folder.path.iterdir():
        path.unlink()
    (folder.path / name).write_bytes(content)
    if name == "heartbeat.json":
        holder = {"host": "a", "boot": "b", "namespace": "c", "pid": 1, "start": "d", "since": 0.0, "nonce": "e"}
        (folder.path / "owner-000001.json").write_text(json.dumps(holder))
    try:
        READERS[name](folder)
    except UnreadableRun as error:
        assert name in str(error) and len(str(error).splitlines()) == 1
        if name in ("result.json", "steps.jsonl"):
            said = damage(folder.path)
            assert said is None or name in said or "run.json" in said
    assert isinstance(plain_values(folder.path / name), dict)


@SAME_EVERY_TIME
@given(st.dictionaries(st.integers(0, 99), WORDS, max_size=4), st.integers(0, 200), CONTENTS)
@example({1: "a"}, 200, b'{"example": [1], "text": 2}\n')
@example({1: "a"}, 200, b'{"example": 3, "text": 2}\n')
def test_a_log_of_texts_gives_those_whose_lines_are_whole(folder, texts, kept, more):
    log = TextLog(folder.texts, key="k")
    log.remove()
    log = TextLog(folder.texts, key="k")
    log.add(texts)
    data = folder.texts.read_bytes()
    folder.texts.write_bytes(data[:kept] + b"\n" + more)
    again = TextLog(folder.texts, key="k")
    assert all(isinstance(key, int) and isinstance(text, str) for key, text in again.known.items())
    whole = {key: text for key, text in again.known.items() if texts.get(key) == text}
    assert set(again.known) - set(whole) <= {0, 1, 2, 3}, "made up"
    assert len(TextLog(folder.texts, key="k").notes) == 0, "what was dropped is dropped"
