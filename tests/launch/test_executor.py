"""Several runs at a time: the same results, really beside each other, and none outlives an error."""

import os

import pytest

import tiny
import tunelab
from launch.test_resume import STUDY, execute_run, prepared
from tunelab.config.launch import Launch
from tunelab.config.read import read_study
from tunelab.errors import RunBusy
from tunelab.launch.executor import Executor, visible_gpus
from tunelab.launch.run import run_study
from tunelab.ownership import own
from tunelab.study.planning.plan import make_plan
from tunelab.study.store import Store

pytestmark = pytest.mark.slow

SEARCH = STUDY.replace("full: {{learning_rate: 1e-3}}", "full: {{learning_rate: [1e-3, 3e-3]}}")


class View:
    def __init__(self, *, fail_at: str | None = None) -> None:
        self.running: set[str] = set()
        self.most = 0
        self.fail_at = fail_at

    def planned(self, runs, store) -> None:
        self.running -= {run.run.id for run in runs if run.run and store.run(run.run.id).finished}

    def told(self, text) -> None: ...

    def event(self, run, event) -> None:
        self.running |= {run.id} if event["event"] != "starting" else set()
        self.most = max(self.most, len(self.running))
        if event["event"] == self.fail_at:
            raise KeyboardInterrupt


def execute(folder, model, *, workers: int, view: View, cluster: str | None = None):
    text = f"{SEARCH}launch: {{{{workers: {workers}}}}}\n".replace("steps: 20", "steps: 6").format(model=model)
    return run_study(make_plan(read_study(text=text)), out=folder, cluster=cluster, view=view)


def test_two_workers_give_what_one_gives_and_run_beside_each_other(tmp_path):
    model = tiny.model_folder(tmp_path / "model")
    views = View(), View()
    outcomes = [
        execute(tmp_path / "1", model, workers=1, view=views[0], cluster="in-process"),
        execute(tmp_path / "2", model, workers=2, view=views[1]),
    ]
    assert [outcome.num_failed for outcome in outcomes] == [0, 0]
    assert views[0].most == 1 and views[1].most == 2
    one, two = ({r.path.name: r.read_result().scores for r in Store(o.folder).all_runs()} for o in outcomes)
    assert one == two and len(one) == 1 + 2 + 1, "base, full at two rates, lora"


def test_no_worker_outlives_an_error_of_the_study(tmp_path):
    model = tiny.model_folder(tmp_path / "model")
    before = children()  # of other tests in this process: libraries' helpers
    with pytest.raises(KeyboardInterrupt):
        execute(tmp_path / "out", model, workers=2, view=View(fail_at="train"))
    assert children() <= before
    again = execute(tmp_path / "out", model, workers=1, view=View(), cluster="in-process")
    assert again.num_failed == 0


def children() -> set[str]:
    """Ids of this process's own Python processes."""
    mine = str(os.getpid())
    return {stat.split("(")[0].strip() for stat in process_stats() if stat.split(")")[1].split()[1] == mine}


def process_stats():
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                stat = file.read()
        except OSError:  # it ended meanwhile
            continue
        if "python" in stat.split("(")[1]:
            yield stat


def test_each_run_has_gpus_of_its_own_and_more_runs_than_that_share_them():
    def places(launch, count):
        executor = Executor(launch, events=lambda run, event: None, gpus=[str(number) for number in range(count)])
        return sorted(executor._free)

    assert places(Launch(), 0) == [()]
    assert places(Launch(workers=2), 0) == [(), ()]
    assert places(Launch(), 3) == [("0",), ("1",), ("2",)]
    assert places(Launch(devices=2), 5) == [("0", "1"), ("2", "3")]
    assert places(Launch(workers=1), 3) == [("0",)]
    assert places(Launch(workers=3), 2) == [("0",), ("0",), ("1",)]


def test_of_a_schedulers_gpus_runs_get_those_alone(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus(2) == ["0", "1"] and visible_gpus(0) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-5f")
    assert visible_gpus(2) == ["3", "GPU-5f"]


def test_a_second_call_for_a_study_is_told_who_runs_it_and_starts_nothing(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY.format(model=tiny.model_folder(tmp_path / "model")))
    with own(tmp_path / "out"), pytest.raises(RunBusy, match="is being written by .*process .*last sign of life"):
        tunelab.run(tmp_path / "study.yaml", out=tmp_path / "out")
    assert not (tmp_path / "out" / "study.yaml").exists()


def test_a_run_that_another_process_has_finished_meanwhile_is_not_executed_again(tmp_path):
    run, folder = prepared(tmp_path / "out", tiny.model_folder(tmp_path / "model"), "base")
    execute_run(run, folder, events=lambda run, event: None)
    events = []
    execute_run(run, folder, events=lambda run, event: events.append(event))
    assert events == [] and folder.finished and [each.how for each in folder.attempts()] == ["finished"] * 2
