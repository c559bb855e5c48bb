"""A run in a tracker: every step once, whatever happens to the run, to its records and to the mirror."""

import io
import shutil
import threading

import pytest

from launch.tracking.tracked_run import Noting, WrittenRun
from tunelab.launch.tracking import growing
from tunelab.launch.tracking.mirror import LAST_SECONDS, UNFINISHED, Mirror, _line, _until_input_ends, mirror
from tunelab.launch.tracking.sent import TrackerFolder


class Study:
    """A results folder, one run in it, and a tracker that outlives its mirrors, as a database does."""

    def __init__(self, results, *, keeps=True):
        self.place = TrackerFolder(results, "noting")
        self.place.path.mkdir(parents=True)
        self.run = WrittenRun(results)
        self.run.attempt(1)
        self.tracker = Noting(self.place.path, "small", keeps=keeps)
        self.mirror = self.another()

    def another(self):
        self.mirror = Mirror(self.place, "small", lambda: self.tracker)
        return self.mirror


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


def test_a_planned_run_is_not_begun(study):
    study.mirror.look(last=True)
    assert study.tracker.told == []


def test_steps_are_sent_as_they_come_and_once(study):
    study.run.steps(1, 2)
    study.mirror.look()
    study.run.steps(3, 4)
    study.mirror.look()
    study.mirror.look()
    assert study.tracker.told == [("begin", ("lora--task--seed0", False)), ("send", [1, 2]), ("send", [3, 4])]
    assert study.tracker.points["lora--task--seed0"][0].values == {
        "train/loss": 1.0, "train/learning_rate": 0.1, "train/grad_norm": 2.0, "train/tokens_per_second": 5.0,
    }  # fmt: skip


def test_a_validation_waits_for_its_step_and_is_one_point_with_it(study):
    study.run.steps(1, 1)
    study.run.validation(2)
    study.mirror.look()
    assert study.tracker.steps("eval/loss") == []
    study.run.steps(2, 3)
    study.mirror.look()
    assert study.tracker.steps("eval/loss") == [2]
    assert study.tracker.steps() == [1, 2, 3]


def test_the_result_is_the_end_and_comes_after_all_steps(study):
    study.run.steps(1, 4)
    study.run.validation(4)
    study.run.finish()
    study.mirror.look()
    assert [kind for kind, _ in study.tracker.told] == ["begin", "send", "end"]
    assert study.tracker.endings[0].values["test/rouge_l"] == 0.5
    study.mirror.look(last=True)
    assert len(study.tracker.told) == 3


def test_a_run_without_steps_ends_too(study):
    study.run.finish(steps=0)
    study.mirror.look()
    assert [kind for kind, _ in study.tracker.told] == ["begin", "end"]


@pytest.mark.parametrize("same_mirror", [True, False])
def test_a_resumed_run_goes_on_and_no_step_comes_twice(study, same_mirror):
    study.run.steps(1, 5)
    study.mirror.look(last=not same_mirror)
    if not same_mirror:
        study.another()
        study.mirror.look()
    study.run.attempt(2, at=5)
    study.run.folder.rewind(step=3)
    study.mirror.look()
    study.run.steps(4, 7)
    study.mirror.look()
    assert study.tracker.steps() == [1, 2, 3, 4, 5, 6, 7]


def test_a_tracker_that_has_lost_what_it_got_gets_all_of_it(study):
    study.run.steps(1, 3)
    study.mirror.look()
    study.tracker.points.clear()
    study.run.steps(4, 4)
    study.another().look()
    assert study.tracker.steps() == [1, 2, 3, 4]


def test_a_tracker_that_writes_runs_anew_gets_all_of_it_each_time(tmp_path):
    study = Study(tmp_path, keeps=False)
    study.run.steps(1, 3)
    study.run.validation(3)
    study.mirror.look(last=True)
    study.run.steps(4, 4)
    study.another().look()
    assert study.tracker.steps() == [1, 2, 3, 4]
    assert study.tracker.steps("eval/loss") == [3]
    study.run.finish()
    study.mirror.look()
    study.run.finish(rouge=0.9)
    study.mirror.look()
    assert study.tracker.steps() == [1, 2, 3, 4]


def test_a_killed_mirror_is_followed_by_one_that_sends_what_it_did_not_write_down(study, monkeypatch):
    study.run.steps(1, 2)
    study.mirror.look()
    study.run.steps(3, 3)
    monkeypatch.setattr(TrackerFolder, "write_sent", lambda *written: None)
    study.mirror.look()
    monkeypatch.undo()
    study.run.steps(4, 4)
    study.another().look()
    assert [what for kind, what in study.tracker.told if kind == "send"] == [[1, 2], [3], [3, 4]]


def test_a_run_that_was_scored_again_ends_again(study):
    study.run.steps(1, 4)
    study.run.finish()
    study.mirror.look()
    study.run.finish(rouge=0.9)
    study.another().look()
    assert [each.values["test/rouge_l"] for each in study.tracker.endings] == [0.5, 0.9]
    assert study.tracker.steps() == [1, 2, 3, 4]


def test_a_run_that_failed_is_opened_again_when_it_goes_on(study):
    study.run.steps(1, 2)
    study.run.fail()
    study.mirror.look()
    study.run.folder.forget_failure()
    study.run.steps(3, 3)
    study.mirror.look()
    study.run.finish(steps=3)
    study.mirror.look()
    assert [kind for kind, _ in study.tracker.told] == ["begin", "send", "end", "begin", "send", "end"]
    assert [each.status for each in study.tracker.endings] == ["failed", "finished"]


def test_a_run_that_was_trained_anew_is_begun_anew(study):
    study.run.steps(1, 5)
    study.mirror.look(last=True)
    shutil.rmtree(study.run.folder.path)
    study.run = WrittenRun(study.place.results)
    study.run.attempt(2)
    study.run.steps(1, 2, loss=9.0)
    study.another().look()
    assert study.tracker.told[-2:] == [("begin", ("lora--task--seed0", True)), ("send", [1, 2])]
    assert study.tracker.steps() == [1, 2]


def test_the_end_of_the_study_closes_what_is_open_as_stopped_or_as_running_elsewhere(study):
    study.run.steps(1, 2)
    study.mirror.look(last=True)
    with study.run.folder.lock():
        study.run.steps(3, 3)
        study.another().look(last=True)
    assert [(each.status, each.step) for each in study.tracker.endings] == [("stopped", 2), ("running", 3)]


def test_long_records_come_a_piece_at_a_time_and_whole(study, monkeypatch):
    monkeypatch.setattr(growing, "MOST_BYTES", 500)
    study.run.steps(1, 40)
    study.run.validation(20)
    study.run.validation(40)
    study.run.finish(steps=40)
    study.mirror.look()
    study.another().look(last=True)
    assert study.tracker.steps() == list(range(1, 41))
    assert study.tracker.steps("eval/loss") == [20, 40]
    assert [kind for kind, _ in study.tracker.told].count("send") > 3
    assert len(study.tracker.endings) == 1


def test_a_run_json_of_another_version_is_left_alone(study):
    study.run.steps(1, 2)
    (study.run.folder.path / "run.json").write_text("{}")
    study.mirror.look(last=True)
    assert study.tracker.told == []


def test_a_record_of_what_was_sent_that_cannot_be_read_sends_all(study):
    study.run.steps(1, 2)
    study.mirror.look(last=True)
    (study.place.path / "sent.json").write_text("{")
    study.tracker.points.clear()
    study.another().look(last=True)
    assert study.tracker.steps() == [1, 2]


def test_the_last_look_is_after_the_study_has_ended(study):
    ended = []

    def wait():
        study.run.steps(1, 3)
        ended.append(True)

    mirror(study.mirror, is_over=lambda: bool(ended), wait=wait)
    assert study.tracker.steps() == [1, 2, 3]


def test_when_nobody_is_left_there_is_a_limit(study, monkeypatch):
    alarms, over = [], threading.Event()
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    monkeypatch.setattr("signal.alarm", alarms.append)
    _until_input_ends(study.place, over)
    assert alarms == [LAST_SECONDS] and over.is_set()
    assert study.place.problem() == UNFINISHED


def test_a_problem_is_one_line_of_limited_length():
    assert _line("no\n  room") == "no room"
    assert len(_line("word " * 1000)) == 200
