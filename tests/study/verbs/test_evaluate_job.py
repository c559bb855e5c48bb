"""`tunelab evaluate --cluster slurm`: which script is submitted, and what is refused before."""

from pathlib import Path

import pytest

from tunelab.config.read import dump, read_study
from tunelab.errors import ConfigError
from tunelab.study.planning.plan import make_plan
from tunelab.study.planning.planned import Revisions
from tunelab.study.planning.run_config import base_run
from tunelab.study.store import Store
from tunelab.study.verbs.evaluate_job import planned_job

STUDY = """
name: scored
model: tunelab/tiny
tasks: [{name: restaurants, train_rows: 60, validation_rows: 6, test_rows: 6, metrics: [loss]}]
methods: [full]
launch:
  devices: 2
  slurm: {partition: gpu, gres: "gpu:2", time: "2:00:00", lines: [module load cuda]}
"""


@pytest.fixture
def run(tmp_path) -> Path:
    store = Store(tmp_path / "results")
    plan = make_plan(read_study(text=STUDY))
    made = base_run(plan, plan.tasks[0], "torch", Revisions())
    store.run(made.id).write_run(made, {})
    store.study_file.write_text(dump(plan.study))
    return store.run(made.id).path


def asked(text: str) -> dict[str, str]:
    lines = [line.removeprefix("#SBATCH --").partition("=") for line in text.splitlines() if line.startswith("#SBATCH")]
    return {name: value for name, _, value in lines}


def test_resources_are_those_of_the_runs_study_and_change_by_set(run, tmp_path):
    job = planned_job(str(run), out=tmp_path / "scores", overrides=["launch.slurm.partition=short"])
    options = asked(job.script.text)
    assert (options["partition"], options["gres"], options["time"]) == ("short", "gpu:2", "2:00:00")
    assert options["output"] == f"{tmp_path / 'scores'}/slurm/%j.log"
    last = job.script.text.splitlines()[-2:]
    assert last[0] == "module load cuda"
    words = f"evaluate {run} --set launch.slurm.partition=short --out {tmp_path / 'scores'}"
    assert last[1].endswith(f" -m tunelab {words}"), "evaluated there as here: without --cluster"


def test_resources_of_a_model_are_those_of_the_study_that_the_task_is_named_of(tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(STUDY)
    job = planned_job("tunelab/tiny", tasks=[f"{study}:restaurants"], out=tmp_path / "scores")
    assert asked(job.script.text)["gres"] == "gpu:2"
    assert f"evaluate tunelab/tiny --task {study}:restaurants --out" in job.script.text


def test_what_is_wrong_is_told_before_anything_is_submitted(run, tmp_path):
    with pytest.raises(ConfigError, match="Give --out DIR"):
        planned_job(str(run))
    with pytest.raises(ConfigError, match="partitoin"):
        planned_job(str(run), out=tmp_path / "scores", overrides=["launch.slurm.partitoin=short"])
    with pytest.raises(ConfigError, match="belongs to a study's results"):
        planned_job(str(run), out=run.parent.parent)
    assert not (tmp_path / "scores").exists()


def test_a_study_that_cannot_be_read_is_told(run, tmp_path):
    (run.parent.parent / "study.yaml").write_text("name: [")
    with pytest.raises(ConfigError, match=r"study\.yaml"):
        planned_job(str(run), out=tmp_path / "scores")
