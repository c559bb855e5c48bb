"""`tunelab status`: what is said of every run, from records and from what SLURM answers. No model is loaded."""

import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from tunelab.config.read import dump, read_study
from tunelab.entries import Attempt
from tunelab.errors import ConfigError
from tunelab.launch.control.status import study_status
from tunelab.launch.control.status_text import print_status
from tunelab.ownership import HEARTBEAT, STALE_SECONDS, own, this_process
from tunelab.records import StepRecord
from tunelab.study.planning.plan import make_plan
from tunelab.study.planning.planned import Revisions
from tunelab.study.planning.runs import study_runs
from tunelab.study.store import RunFolder, Store

STUDY = """
name: standing
model: tunelab/tiny
tasks: [{name: restaurants, train_rows: 60, validation_rows: 6, test_rows: 6, metrics: [rouge_l]}]
methods:
  - full: {learning_rate: [1e-3, 3e-4]}
  - lora: {learning_rate: 1e-3}
seeds: [3, 4]
budget: {steps: 20}
"""
PLANNER = {
    "job": "8", "kind": "next", "name": "tunelab-standing-next", "submission": "s", "runs": [], "script": "x",
    "when": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


class Started:
    """A study that was started, with run.json of every run that is known then."""

    def __init__(self, out: Path) -> None:
        self.store = Store(out)
        plan = make_plan(read_study(text=STUDY))
        out.mkdir(parents=True)
        self.store.study_file.write_text(dump(plan.study))
        self.runs = {}
        for each in study_runs(plan, Revisions(), self.store, settled=lambda run_id: False):
            if each.run is not None:
                rate = each.entry.learning_rate
                self.runs[
                    f"{each.entry.method} {each.entry.seed}{f' {rate:g}' if each.entry.num_tried > 1 else ''}"
                ] = self.store.run(each.run.id)
                self.store.run(each.run.id).write_run(each.run, {})

    def __getitem__(self, name: str) -> RunFolder:
        return self.runs[name]

    def submitted(self) -> None:
        """Every run as a task of job 7, and job 8 that continues the study."""
        ids = [folder.path.name for folder in self.runs.values()]
        wave = PLANNER | {"job": "7", "kind": "wave", "name": "tunelab-standing", "runs": ids}
        ledger = self.store.folder / "slurm" / "jobs.jsonl"
        ledger.parent.mkdir()
        ledger.write_text("".join(json.dumps(each) + "\n" for each in (wave, PLANNER)))

    def of(self, name: str):
        found = study_status(str(self.store.folder)).runs
        return next(each for each in found if each.entry.id == self.runs[name].path.name)


@pytest.fixture
def started(tmp_path) -> Started:
    return Started(tmp_path / "out")


def attempt(folder: RunFolder, **facts) -> None:
    begun = {"nonce": "n", "host": "node7", "pid": 1, "started": "2026-01-01T00:00:00+00:00", "progress": (0, 0)}
    folder.write_attempt(Attempt(**(begun | facts)))


def held_elsewhere(folder: RunFolder, *, silent: float = 0, idle: float = 0, job: str | None = None, **facts) -> None:
    holder = this_process()._replace(host="node7", pid=4711, job=job)
    (folder.path / "owner-000001.json").write_text(json.dumps(holder._asdict()))
    (folder.path / HEARTBEAT).write_text(json.dumps({"nonce": holder.nonce, "when": 0, "idle": idle, "facts": facts}))
    then = time.time() - silent
    for name in ("owner-000001.json", HEARTBEAT):
        os.utime(folder.path / name, (then, then))


def step(number: int) -> StepRecord:
    return StepRecord(
        step=number, loss=2.5, learning_rate=1e-3, grad_norm=1, num_tokens=10, num_supervised_tokens=5, seconds=0.5,
        ema_loss=2.25, tokens_per_second=1234,
    )  # fmt: skip


TRAINS = {"event": "step", "phase": "train", "step": 7, "num_steps": 20, "ema_loss": 2.5, "seconds": 0.5,
          "tokens_per_second": 1234.4}  # fmt: skip


def test_of_what_was_never_started_one_line_says_how_to_start_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(STUDY)
    with pytest.raises(ConfigError, match=r"^results/standing: nothing was started there .*`tunelab run mine.yaml`"):
        study_status("mine.yaml")
    with pytest.raises(ConfigError, match="no study.yaml in it"):
        study_status(str(tmp_path))


def test_a_study_is_found_by_its_file_by_its_folder_and_by_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(STUDY)
    Started(Path("results/standing"))
    Started(Path("other"))
    goes_on = [study_status(what, out=out).lines[-1] for what, out in
               [("mine.yaml", None), ("mine.yaml", Path("other")), ("results/standing", None)]]  # fmt: skip
    assert goes_on == [
        "`tunelab run mine.yaml` goes on.",
        "`tunelab run mine.yaml --out other` goes on.",
        "`tunelab run results/standing/study.yaml --out results/standing` goes on.",
    ]


def test_the_first_line_counts_every_run_of_the_plan(started):
    (started["base 3"].path / "result.json").write_text(_result(started["base 3"]))
    started["lora 3"].write_failure("it broke")
    held_elsewhere(started["lora 4"], **TRAINS)
    status = study_status(str(started.store.folder))
    assert status.summary == "standing: 1 of 6 finished, 1 running, 3 waiting, 1 failed"
    assert sum(status.counts.values()) == len(status.runs) == 6


def test_a_seed_that_waits_for_a_search_says_so_though_a_candidate_has_finished(started):
    (started["full 3 0.001"].path / "result.json").write_text(_result(started["full 3 0.001"]))
    waiting = [each for each in study_status(str(started.store.folder)).runs if not each.entry.id]
    assert [(each.name, each.state, each.text) for each in waiting] == [
        ("full, restaurants, seed 4", "waiting", "for the search on the first seed")
    ]


def _result(folder: RunFolder) -> str:
    run = folder.read_run()
    provenance = dict.fromkeys(("tunelab", "python", "precision", "device", "hardware", "platform", "started"), "")
    facts = {
        "run": run.id, "method": "full", "task": run.task, "seed": 3, "backend": "torch", "learning_rate": 1e-3,
        "scores": {}, "phases": {}, "trainable_parameters": 1, "total_parameters": 1, "validation_loss": 1.0,
        "provenance": {**provenance, "packages": {}, "threads": 1},
    }  # fmt: skip
    return json.dumps(facts)


def test_what_runs_tells_phase_step_loss_speed_host_job_and_its_last_sign_of_life(started):
    held_elsewhere(started["lora 3"], silent=4, job="7_2", **TRAINS)
    run = started.of("lora 3")
    assert (run.state, run.text) == (
        "running", "train, step 7/20, loss 2.500, 1,234 tokens/s, node7, job 7_2, 4 s ago",
    )  # fmt: skip
    assert run.facts["num_steps"] == 20 and run.facts["host"] == "node7" and run.facts["pid"] == 4711


def test_a_step_that_was_written_after_the_heartbeat_counts(started):
    held_elsewhere(started["lora 3"], **TRAINS)
    for number in range(1, 10):
        started["lora 3"].step(step(number))
    assert started.of("lora 3").text.startswith("train, step 9/20, loss 2.250, ")


def test_the_last_step_is_found_at_the_end_of_a_long_file(started):
    folder = started["lora 3"]
    assert folder.last_step() is None
    for number in range(1, 101):
        folder.step(step(number))
    with (folder.path / "steps.jsonl").open("a") as file:
        file.write('{"step": 101, "lo')
    assert folder.last_step() == step(100)


def test_texts_are_told_while_they_are_generated(started):
    told = {"event": "generate", "phase": "evaluate", "done": 3, "total": 6, "tokens_per_second": 50.0}
    held_elsewhere(started["base 3"], **told)
    assert started.of("base 3").text.startswith("evaluate, text 3/6, 50 tokens/s, node7, ")


def test_a_process_that_lives_and_makes_no_step_is_told(started):
    held_elsewhere(started["lora 3"], silent=2, idle=300, **TRAINS)
    assert "no new step for 5 min (one takes 0.5 s): does it hang?" in started.of("lora 3").text
    held_elsewhere(started["lora 4"], silent=2, idle=300, **(TRAINS | {"seconds": 100.0}))
    assert "hang" not in started.of("lora 4").text, "a step may take as long"
    held_elsewhere(started["base 3"], silent=2, idle=300, event="phase", phase="evaluate")
    assert started.of("base 3").text == "evaluate, node7, nothing new for 5 min"


def test_a_holder_elsewhere_without_a_sign_of_life_is_probably_dead(started):
    held_elsewhere(started["lora 3"], silent=STALE_SECONDS + 10, **TRAINS)
    run = started.of("lora 3")
    assert run.state == "silent" and run.text.startswith("silent for 100 s, probably dead, train, step 7/20")


def test_a_run_whose_process_is_gone_says_where_it_goes_on(started):
    folder = started["lora 3"]
    attempt(folder)
    (folder.checkpoint / "step-000000005").mkdir(parents=True)
    (folder.checkpoint / "step-000000005" / "loop.json").write_text('{"step": 5}')
    folder.log.write_text("loading\nKilled\n\n")
    run = started.of("lora 3")
    said = f"its process ended without a word, {folder.log} ends: Killed; goes on from step 5"
    assert (run.state, run.text, run.facts["goes_on_from_step"]) == ("stopped", said, 5)
    attempt(folder, ended="2026-01-01T00:01:00+00:00", how="stopped", reached=(5, 0))
    assert started.of("lora 3").text == "goes on from step 5"


def test_a_failed_run_tells_why_which_log_and_its_last_line(started):
    folder = started["lora 3"]
    folder.log.write_text("Traceback\nValueError: no\n")
    folder.write_failure("it broke")
    run = started.of("lora 3")
    assert (run.state, run.text) == ("failed", f"it broke; log: {folder.log} ends: ValueError: no")
    folder.write_failure(f"it broke; {folder.log.name} ends: Traceback | ValueError: no")
    assert started.of("lora 3").text.count("ValueError: no") == 1


def test_who_executes_it_is_told(started):
    with own(started.store.folder):
        status = study_status(str(started.store.folder))
    assert status.lines[0].startswith(f"Executed by {this_process().name}, last sign of life 0 s ago.")
    assert {each.text for each in status.runs} == {"for its turn", "for the search on the first seed"}
    assert study_status(str(started.store.folder)).lines[0] == "Nobody executes the study, and 6 runs are unfinished."


# ------------------------------------------------------------------ SLURM's answers


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """`squeue("text")` answers that; `squeue("text", 1)` fails with it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def answers(text: str, status: int = 0) -> None:
        program = folder / "squeue"
        program.write_text(f"#!/bin/sh\ncat >&{2 if status else 1} <<'END'\n{text}\nEND\nexit {status}\n")
        program.chmod(0o755)

    return answers


@pytest.mark.slow
def test_the_queue_says_why_a_run_waits_and_where_a_requeued_one_goes_on(started, squeue):
    started.submitted()
    attempt(started["full 3 0.001"], job="7_1", ended="2026-01-01T00:01:00+00:00", how="stopped", reached=(5, 0))
    (started["full 3 0.001"].checkpoint / "step-000000005").mkdir(parents=True)
    (started["full 3 0.001"].checkpoint / "step-000000005" / "loop.json").write_text('{"step": 5}')
    squeue(
        "7_0|tunelab-standing|PENDING|(Resources)\n7_1|tunelab-standing|PENDING|(BeginTime)\n"
        "7_2|tunelab-standing|RUNNING|n1\n7_3|another|PENDING|(Priority)\n8|tunelab-standing-next|PENDING|(Dependency)"
    )
    status = study_status(str(started.store.folder))
    said = {each.entry.id: (each.state, each.text) for each in status.runs}
    names = ["base 3", "full 3 0.001", "full 3 0.0003", "lora 3"]
    assert [said[started[name].path.name] for name in names] == [
        ("waiting", "in the queue, job 7_0 (Resources)"),
        ("waiting", "requeued, job 7_1 (BeginTime), goes on from step 5"),
        ("running", "starting, job 7_2 RUNNING on n1"),
        ("waiting", "for its turn"),  # another job with that number
    ]
    assert status.lines == ("Job 8 continues the study: PENDING (Dependency).",)


@pytest.mark.slow
def test_a_controller_that_does_not_answer_is_unknown_and_never_gone(started, squeue, monkeypatch):
    started.submitted()
    held_elsewhere(started["lora 3"], **TRAINS)
    squeue("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", 1)
    for words in ("Unable to contact slurm controller (connect failure)", "there is no squeue on this machine"):
        status = study_status(str(started.store.folder))
        (line,) = status.lines
        assert words in line and "unknown" in line and line.endswith("what the records say.")
        assert status.counts == {"running": 1, "waiting": 1, "unknown": 4}
        assert status.as_json()["slurm_unknown"] and not status.as_json()["jobs"]
        monkeypatch.setenv("PATH", "/nowhere")


@pytest.mark.slow
def test_jobs_that_are_gone_are_told_with_the_log_of_the_one_that_should_have_gone_on(started, squeue):
    started.submitted()
    (started.store.folder / "slurm" / "8.log").write_text("began\nerror: the disk is full\n")
    squeue("7_0|tunelab-standing|CANCELLED by 0|n1\n8|tunelab-standing-next|FAILED|n1")
    lines = study_status(str(started.store.folder)).lines
    assert lines[0] == "No job of the study is in the queue, and 6 runs are unfinished."
    assert lines[1].startswith("Job 8, which should have continued it (FAILED), ends ")
    assert lines[2:4] == ("  began", "  error: the disk is full")
    assert lines[-1].startswith("`tunelab run ") and lines[-1].endswith(" --cluster slurm` goes on.")


# ------------------------------------------------------------------ what is printed


def printed(started: Started, *, terminal: bool) -> list[str]:
    console = Console(file=io.StringIO(), width=80, force_terminal=terminal, no_color=True, highlight=False)
    print_status(study_status(str(started.store.folder)), console)
    return console.file.getvalue().splitlines()


def test_a_table_fits_a_terminal_and_a_pipe_gets_a_line_a_run(started):
    held_elsewhere(started["lora 3"], job="7_2", **TRAINS)
    started["lora 4"].write_failure("a reason that is so long that it does not fit into one line of a terminal" * 2)
    assert len(printed(started, terminal=False)) == 1 + 2 + 6
    table = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in printed(started, terminal=True)]
    assert max(map(len, table)) <= 80 and "1 failed" in table[0]
    assert "loss 2.500" in " ".join(" ".join(line.split()) for line in table)


@pytest.mark.slow
def test_it_answers_at_once_without_torch_model_or_data(started):
    text = started.store.study_file.read_text()
    started.store.study_file.write_text(text.replace("tunelab/tiny", "/gone/model"))
    code = (
        "import sys, time\nfrom tunelab.cli import main\n"
        f"sys.argv = ['tunelab', 'status', {str(started.store.folder)!r}, '--json']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules\nassert time.process_time() < 5, time.process_time()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["num_runs"] == 6 and found["counts"] == {"waiting": 6}
