"""The offline files of Weights & Biases, read back record by record: what `wandb sync` would upload."""

import json
import struct
from collections import Counter

import pytest

from trackers.mirrored import ANEW, FAILED, RUN, said_too_much
from tunelab.errors import ConfigError
from tunelab.study.planning.plan import tracker_of

pytestmark = pytest.mark.slow

BLOCK = 32768


def records(data: bytes):
    """The protocol buffers in a .wandb file: LevelDB's log format behind a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    assert data[:4] == b":W&B"
    at, whole = 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(whole)
            whole = b""


@pytest.fixture(scope="module")
def read(results):
    """By run: its records."""
    found = {}
    for path in (results / "trackers" / "wandb" / "wandb").glob("offline-run-*/*.wandb"):
        found[path.stem.removeprefix("run-")] = list(records(path.read_bytes()))
    return found


def values(items) -> dict:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_there_is_one_file_a_run_with_the_runs_own_id(results, read):
    folders = [path.name for path in (results / "trackers" / "wandb" / "wandb").glob("offline-run-*")]
    assert len(folders) == 3
    assert {run: next(each.run for each in found if each.HasField("run")).run_id for run, found in read.items()} == {
        RUN: RUN, FAILED: FAILED, ANEW: ANEW,
    }  # fmt: skip


def test_every_step_is_there_once_in_order_with_its_value_and_its_time(read):
    history = [values(each.history.item) for each in read[RUN] if each.HasField("history")]
    assert [each["_step"] for each in history] == [1, 2, 3, 4, 5]
    assert [each["train/loss"] for each in history] == [pytest.approx(1 / step) for step in (1, 2, 3, 4, 5)]
    assert [each["_step"] for each in history if "eval/perplexity" in each] == [2, 4]
    whens = [each["_timestamp"] - history[0]["_timestamp"] for each in history]
    assert whens == [0, 10, 20, 3600, 3610]


def test_a_run_that_was_trained_anew_is_the_new_one(read):
    history = [values(each.history.item) for each in read[ANEW] if each.HasField("history")]
    assert [(each["_step"], each["train/loss"]) for each in history] == [(1, 9.0), (2, 4.5)]


def test_scores_are_the_summary(read):
    summary = {}
    for each in read[RUN]:
        summary |= values(each.summary.update)
    assert summary["test/rouge_l"] == 0.75
    assert summary["usage/train_seconds"] == 12.0
    assert summary["status"] == "finished"
    exits = {run: [each.exit.exit_code for each in found if each.HasField("exit")] for run, found in read.items()}
    assert exits == {RUN: [0], FAILED: [1], ANEW: [1]}


def test_group_name_tags_and_configuration(read):
    run = next(each.run for each in read[RUN] if each.HasField("run"))
    assert (run.project, run.run_group, run.job_type, run.display_name) == ("tunelab", "small", "lora r=2", RUN)
    assert {"method: lora r=2", "seed: 0", "task: task"} <= set(run.tags)
    assert values(run.config.update)["method"]["rank"] == 2
    assert values(run.config.update)["task_options"]["train"] == "train.jsonl"


def test_nothing_but_these_kinds_of_records_is_in_it(read):
    """None of the machine's load, of files (code, requirements, metadata), of output, of the environment."""
    kinds = Counter(each.WhichOneof("record_type") for found in read.values() for each in found)
    assert set(kinds) == {"header", "run", "telemetry", "summary", "history", "exit"}
    run = next(each.run for each in read[RUN] if each.HasField("run"))
    assert (run.host, run.git.remote_url, run.git.commit) == ("", "", "")


def test_neither_host_nor_user_nor_text_is_in_it(results):
    assert said_too_much(results, "wandb") == []


def test_a_mode_that_keeps_nothing_is_refused(results, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with pytest.raises(ConfigError, match="^WANDB_MODE=disabled is in the environment"):
        tracker_of("wandb")(results, "small")
