"""TensorBoard's own reader and page find what was mirrored."""

import subprocess
import sys

import pytest

from trackers.mirrored import ANEW, FAILED, RUN, said_too_much
from trackers.page import page_text, served

pytestmark = pytest.mark.slow


def read(results, run=RUN):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(results / "trackers" / "tensorboard" / run), size_guidance={"tensors": 0})
    found.Reload()
    return found


def text_of(events, tag) -> str:
    return events.Tensors(tag)[-1].tensor_proto.string_val[0].decode()


def test_every_step_is_there_once_with_its_value_and_its_time(results):
    events = read(results)
    assert [(each.step, each.value) for each in events.Scalars("train/loss")] == [
        (step, pytest.approx(1 / step)) for step in (1, 2, 3, 4, 5)
    ]
    whens = [each.wall_time for each in events.Scalars("train/loss")]
    assert [when - whens[0] for when in whens] == [0, 10, 20, 3600, 3610]
    assert [each.step for each in events.Scalars("eval/perplexity")] == [2, 4]


def test_a_run_that_was_trained_anew_is_the_new_one(results):
    assert [(each.step, each.value) for each in read(results, ANEW).Scalars("train/loss")] == [(1, 9.0), (2, 4.5)]


def test_scores_are_at_the_last_step_the_newest_last(results):
    assert [(each.step, each.value) for each in read(results).Scalars("test/rouge_l")][-1] == (5, 0.75)


def test_configuration_tags_and_status_are_texts(results):
    events = read(results)
    assert '"rank": 2' in text_of(events, "configuration")
    assert "method: lora r=2" in text_of(events, "tags")
    assert text_of(events, "status").strip() == "finished"
    assert text_of(read(results, FAILED), "status").strip() == "failed"


def test_its_settings_are_read_by_the_tab_that_compares_them(results):
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    tags = read(results).PluginTagToContent("hparams")
    started = HParamsPluginData.FromString(tags[metadata.SESSION_START_INFO_TAG]).session_start_info
    assert started.hparams["method.rank"].number_value == 2
    assert started.hparams["method"].string_value == "lora r=2"
    ended = HParamsPluginData.FromString(tags[metadata.SESSION_END_INFO_TAG]).session_end_info
    assert ended.status == 1  # STATUS_SUCCESS


def test_neither_host_nor_user_nor_text_is_in_it(results):
    assert said_too_much(results, "tensorboard") == []


def test_its_page_shows_the_runs(results, tmp_path):
    """By TensorBoard's own server; a browser executes its page."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(results / "trackers" / "tensorboard")]
    with served([*command, "--host", "127.0.0.1", "--port", "{port}"], stderr=subprocess.STDOUT) as address:
        text = page_text(address, tmp_path, wants=[RUN, FAILED, "/loss"])
    assert RUN in text and FAILED in text
    assert "train/loss" in text or "eval/loss" in text
