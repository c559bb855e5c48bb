"""Records of a run: half a write leaves the one before, half a line is none, and resuming cuts off what comes after."""

import errno

import pytest

from tunelab import files
from tunelab.entries import Attempt
from tunelab.records import Prediction, StepRecord
from tunelab.study.record_files import LAST_BYTES
from tunelab.study.store import RunFolder


def step(number: int) -> StepRecord:
    return StepRecord(
        step=number, loss=1.5, learning_rate=1e-3, grad_norm=1.0, num_tokens=9, num_supervised_tokens=5,
        seconds=0.5, ema_loss=1.5, tokens_per_second=18.0,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    return RunFolder(tmp_path)


def test_a_record_that_is_half_written_leaves_the_one_before_and_no_other_file(folder, monkeypatch):
    def no_space(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    one = Prediction(id="one", prompt="a", prediction="b", references=("c",))
    folder.write_predictions([one])
    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", no_space)
        with pytest.raises(OSError, match="No space left"):
            folder.write_predictions([one, one.model_copy(update={"id": "two"})])
    assert folder.read_predictions() == [one]
    assert [path.name for path in folder.path.iterdir()] == ["predictions.jsonl"]


@pytest.mark.parametrize("cut", [1, 30, -1])
def test_a_line_that_was_cut_off_is_no_record_and_the_next_one_stands_alone(cut, folder):
    for number in (1, 2):
        folder.step(step(number))
    with (folder.path / "steps.jsonl").open("a") as file:
        file.write(step(3).model_dump_json()[:cut])
    assert folder.steps() == [step(1), step(2)] and folder.last_step() == step(2)
    folder.rewind(step=2)
    folder.step(step(3))
    assert folder.steps() == [step(1), step(2), step(3)]


@pytest.mark.parametrize("last", [0, 1, 3])
def test_a_resumed_run_keeps_the_records_up_to_its_checkpoint(last, folder):
    for number in (1, 2, 3):
        folder.step(step(number))
    folder.rewind(step=last)
    assert [record.step for record in folder.steps()] == list(range(1, last + 1))
    assert (folder.last_step() is None) == (last == 0)


def test_the_last_step_is_found_without_the_others(folder):
    assert folder.last_step() is None
    count = 3 * LAST_BYTES // len(step(1).model_dump_json())
    for number in range(1, count + 1):
        folder.step(step(number))
    assert folder.last_step() == step(count)
    assert folder.progress == (count, 0)


def test_of_an_attempt_the_line_at_its_end_counts(folder):
    first = Attempt(nonce="a", pid=1, host="h", started="2026-01-01T00:00:00+00:00", progress=(0, 0))
    folder.write_attempt(first)
    folder.write_attempt(first.model_copy(update={"nonce": "b"}))
    folder.write_attempt(first.model_copy(update={"how": "finished"}))
    assert [(each.nonce, each.how) for each in folder.attempts()] == [("a", "finished"), ("b", None)]
