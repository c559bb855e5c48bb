"""Several runs at a time: the same results, really beside each other, and none outlives an error."""

import os

import pytest

import tiny
from launch.test_resume import STUDY
from tunelab.config.read import read_study
from tunelab.launch.run import run_study
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
        self.running.add(run.id)
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
