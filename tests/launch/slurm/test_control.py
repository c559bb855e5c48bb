"""`tunelab status`, `cancel` and `evaluate --cluster slurm` on a real SLURM."""

from pathlib import Path

import pytest

import tiny
import tunelab
from launch.control.test_cancel import LONG, checkpoints, steps_of
from slurm_cluster import wait_for
from tunelab.launch.control.cancel import cancel_study
from tunelab.launch.control.status import study_status
from tunelab.slurm.ledger import Ledger
from tunelab.study.store import RunFolder, Store
from tunelab.study.verbs.evaluate_job import planned_job, submit_evaluation, submitted_text

pytestmark = pytest.mark.slow


def study_in(folder: Path) -> Path:
    """Base, and lora on two seeds; one job at a time."""
    study = folder / "study.yaml"
    text = LONG.replace("seeds: [3]", "seeds: [3, 4]") + "launch: {{slurm: {{at_once: 1}}}}\n"
    study.write_text(text.format(model=tiny.model_folder(folder / "model")))
    return study


def test_a_study_in_the_queue_is_seen_and_cancelled_and_the_next_run_completes_it(slurm, tmp_path):
    study, out = study_in(tmp_path), tmp_path / "out"
    jobs = tunelab.run(study, out=out, cluster="slurm").jobs
    folders = {folder.read_run().seed: folder for folder in Store(out).all_runs() if "lora" in folder.path.name}
    wait_for(lambda: steps_of(folders[3]) >= 3, seconds=90)

    status = study_status(str(out))
    said = {each.entry.id: each for each in status.runs}
    assert status.summary == "resume: 1 of 3 finished, 1 running, 1 waiting"
    assert status.lines == (f"Job {jobs.planner} continues the study: PENDING (Dependency).",)
    running, waiting = said[folders[3].path.name], said[folders[4].path.name]
    assert running.facts["job"] == f"{jobs.arrays[0]}_1" and running.facts["step"] >= 3
    assert waiting.text == f"in the queue, job {jobs.arrays[0]}_2 (JobArrayTaskLimit)"

    told: list[str] = []
    cancelled = cancel_study(str(study), out=out, told=told.append)
    assert told[0].startswith(f"Cancelled job {jobs.planner} (continues the study), job {jobs.arrays[0]} (3 runs)")
    assert cancelled.remaining == () and len(cancelled.ended) == 2 and cancelled.num_finished == 1
    assert slurm.say("squeue", "--noheader") == ""
    assert checkpoints(folders[3]) == [steps_of(folders[3])] and folders[3].attempts()[-1].how == "stopped"
    after = study_status(str(study), out=out)
    assert after.lines[0] == "No job of the study is in the queue, and 2 runs are unfinished."
    assert after.lines[-1] == f"`tunelab run {study} --out {out} --cluster slurm` goes on."
    stopped = {each.entry.id: each for each in after.runs}[folders[3].path.name]
    assert (stopped.state, stopped.facts["goes_on_from_step"]) == ("stopped", steps_of(folders[3]))

    assert tunelab.run(study, out=out, cluster="local").num_failed == 0
    assert study_status(str(out)).counts == {"finished": 3}


def test_who_looks_on_is_not_in_the_way_of_the_job_that_continues_the_study(slurm, tmp_path):
    """Two waves: the second seed waits for the search."""
    study, out = study_in(tmp_path), tmp_path / "out"
    text = study.read_text().replace("at_once: 1", "at_once: 3").replace("steps: 40", "steps: 2")
    study.write_text(text.replace("learning_rate: 1e-3", "learning_rate: [1e-3, 3e-4]"))
    outcome = tunelab.run(study, out=out, cluster="slurm", wait=True)
    assert (outcome.jobs, outcome.num_failed) == (None, 0)
    assert study_status(str(out)).counts == {"finished": 4}
    kinds = [each.kind for each in Ledger(out).read()]
    assert kinds == ["wave", "next", "wave", "next"]


def test_an_evaluation_is_a_job_with_a_log_and_a_result(slurm, tmp_path):
    study, out = study_in(tmp_path), tmp_path / "scores"
    planned = planned_job(str(tmp_path / "model"), tasks=[f"{study}:restaurants"], out=out)
    made = submit_evaluation(planned)
    text = submitted_text(planned, made)
    assert f"job {made.job}; its log: {out}/slurm/{made.job}.log" in text and f"tunelab show {out}" in text
    wait_for(lambda: not slurm.say("squeue", "--noheader"), seconds=90)
    log = out / "slurm" / f"{made.job}.log"
    assert RunFolder(out).finished, log.read_text()
    assert "rouge_l" in log.read_text()


def test_a_controller_that_is_gone_is_unknown(slurm, tmp_path):
    words = "Unable to contact slurm controller"
    study, out = study_in(tmp_path), tmp_path / "out"
    tunelab.run(study, out=out, cluster="slurm")
    slurm.script("kill-node", "slurmctld")
    try:
        (line,) = [line for line in study_status(str(out)).lines if words in line]
        assert "unknown" in line
        (unknown,) = cancel_study(str(out)).remaining
        assert words in unknown
    finally:
        slurm.script("start-node", "slurmctld")
