"""Studies on a real SLURM: waves that go on by themselves, and nothing lost whatever ends a job."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

import tiny
import tunelab
from launch.test_resume import records
from slurm_cluster import wait_for
from tunelab.errors import ConfigError, RunBusy
from tunelab.ownership import process_start
from tunelab.slurm.queue import Unreachable
from tunelab.study.store import RunFolder, Store

pytestmark = pytest.mark.slow

STUDY = """
name: grid
model: {model}
tasks: [{{name: restaurants, train_rows: 60, validation_rows: 6, test_rows: 6, metrics: [rouge_l, loss]}}]
methods:
{methods}
seeds: {seeds}
budget: {{steps: {steps}}}
batch: {{examples: 4, max_tokens: 256}}
generation: {{max_new_tokens: 4}}
checkpoint: {{seconds: {checkpoint}}}
precision: fp32
launch: {{cluster: slurm, slurm: {slurm}}}
"""
LORA = "  - lora: {learning_rate: 1e-3, dropout: 0.1}"


def written(folder, *, methods=LORA, seeds="[0]", steps=240, checkpoint=3600, slurm="{}"):
    """A study file and its results folder."""
    folder.mkdir(exist_ok=True)
    model = tiny.model_folder(folder / "model")
    text = STUDY.format(model=model, methods=methods, seeds=seeds, steps=steps, checkpoint=checkpoint, slurm=slurm)
    (folder / "study.yaml").write_text(text)
    return folder / "study.yaml", folder / "out"


def run(study, out, *more) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tunelab", "run", str(study), "--out", str(out), *more]
    return subprocess.run(command, capture_output=True, text=True)


def folder_of(out, name) -> RunFolder | None:
    found = [path for path in out.glob(f"runs/{name}--*") if (path / "run.json").exists()]
    return RunFolder(found[0]) if found else None


def trains(out, name, steps) -> bool:
    folder = folder_of(out, name)
    return folder is not None and len(folder.steps()) >= steps


def queue(cluster) -> list[list[str]]:
    """Id, name, state."""
    return [line.split("|") for line in cluster.say("squeue", "-h", "-r", "-o", "%i|%j|%T").splitlines()]


def same(one: RunFolder, other: RunFolder) -> None:
    assert records(one, "steps.jsonl") == records(other, "steps.jsonl")
    assert (one.path / "predictions.jsonl").read_bytes() == (other.path / "predictions.jsonl").read_bytes()
    files = [file.relative_to(other.model) for file in other.model.rglob("*.safetensors")]
    assert files
    for file in files:
        assert (one.model / file).read_bytes() == (other.model / file).read_bytes(), file


def first_log(folder) -> str:
    return folder.attempts()[0].log


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> RunFolder:
    """The run that was never stopped."""
    study, out = written(tmp_path_factory.mktemp("whole"))
    done = run(study, out, "--cluster", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = folder_of(out, "lora")
    assert folder is not None
    return folder


def test_a_study_with_a_search_goes_on_by_itself_in_waves_no_wider_than_asked(slurm, tmp_path):
    methods = "  - full: {learning_rate: [1e-3, 3e-3]}\n  - lora: {learning_rate: 1e-3}"
    study, out = written(tmp_path, methods=methods, seeds="[0, 1]", steps=8, slurm="{at_once: 2, partition: main}")
    dry = run(study, out, "--dry-run").stdout
    assert "#SBATCH --array=0-4%2\n" in dry and "#SBATCH --partition=main\n" in dry and not out.exists()
    submitted = run(study, out)
    assert submitted.returncode == 0, submitted.stderr
    assert re.search(r"Submitted 5 runs as job \d+; job \d+ continues the study after them\.", submitted.stdout)
    assert all(f"tunelab {verb} {out}" in submitted.stdout for verb in ("status", "cancel", "report"))
    for cluster in (None, "local"):
        with pytest.raises(RunBusy, match="jobs of this study are in the queue"):
            tunelab.run(study, out=out, cluster=cluster)
    most = 0

    def look() -> None:
        nonlocal most
        rows = queue(slurm)
        most = max(most, sum(1 for _, name, state in rows if name == "tunelab-grid" and state == "RUNNING"))

    slurm.ended(seconds=600, look=look)
    assert 1 <= most <= 2
    runs = Store(out).all_runs()
    assert len(runs) == 6 and all(folder.finished for folder in runs)
    lines = [json.loads(line) for line in (out / "slurm" / "jobs.jsonl").read_text().splitlines()]
    assert [(line["kind"], len(line["runs"])) for line in lines] == [("wave", 5), ("next", 0), ("wave", 1), ("next", 0)]
    tried = [
        folder.read_result() for folder in runs if folder.path.name.startswith("full") and "seed0" in folder.path.name
    ]
    losses = {result.learning_rate: result.validation_loss for result in tried}
    second = next(folder for folder in runs if folder.path.name == lines[2]["runs"][0]).read_run()
    assert second.seed == 1 and second.method["learning_rate"] == min(losses, key=losses.get)
    assert "lora" in (out / "report.md").read_text()
    for folder in runs:
        (attempt,) = folder.attempts()
        assert (
            attempt.how == "finished" and (out / attempt.log).exists() and attempt.submission == lines[0]["submission"]
        )
    again = run(study, out)
    assert again.returncode == 0 and "Submitted" not in again.stdout and "Report:" in again.stdout


def test_at_the_notice_before_the_limit_a_run_is_requeued_and_ends_with_the_same_bytes(slurm, tmp_path, whole):
    study, out = written(tmp_path)
    assert run(study, out).returncode == 0
    wait_for(lambda: trains(out, "lora", 30), seconds=90)
    folder = folder_of(out, "lora")
    job = folder.held().holder.job
    slurm.say("scancel", "--signal=USR1", "--batch", job)
    slurm.ended()
    first, second = folder.attempts()
    assert (first.how, second.how, second.restart) == ("stopped", "finished", 1) and first.job == second.job == job
    assert 30 <= first.reached[0] < 240 and second.progress == first.reached
    assert "requeued; it goes on from its checkpoint" in (out / "slurm" / f"{job}.log").read_text()
    same(folder, whole)


def test_of_a_killed_node_the_orphan_writes_nothing_more(slurm, tmp_path, whole):
    study, out = written(tmp_path)
    assert run(study, out).returncode == 0
    wait_for(lambda: trains(out, "lora", 5), seconds=90)
    folder = folder_of(out, "lora")
    orphan = folder.held().holder
    places = dict(line.split("|") for line in slurm.say("squeue", "-h", "-r", "-o", "%i|%N").splitlines())
    node = places[orphan.job]
    os.kill(orphan.pid, signal.SIGSTOP)  # so that it is still at work when the second attempt is
    slurm.script("kill-node", node)
    slurm.say("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    wait_for(lambda: folder.held() is not None and folder.held().holder.restart == 1, seconds=90)
    os.kill(orphan.pid, signal.SIGCONT)
    wait_for(lambda: process_start(orphan.pid) != orphan.start)
    assert "taken over by" in (out / first_log(folder)).read_text()
    slurm.ended()
    first, second = folder.attempts()
    assert (first.how, second.how, second.restart) == (None, "finished", 1) and first.job == second.job
    assert not folder.failed
    same(folder, whole)


def test_a_run_over_two_nodes_stops_on_both_and_goes_on(slurm, tmp_path):
    study, out = written(tmp_path, methods="  - lora: {learning_rate: 1e-3}", steps=120)
    study.write_text(study.read_text().replace("cluster: slurm,", "cluster: slurm, nodes: 2,"))
    assert run(study, out).returncode == 0
    wait_for(lambda: trains(out, "lora", 5), seconds=120)
    folder = folder_of(out, "lora")
    slurm.say("scancel", "--signal=USR1", "--batch", folder.held().holder.job)
    slurm.ended()
    assert folder.finished, (folder.path / "failure.json").read_text()
    first, second = folder.attempts()
    assert (first.how, second.how, second.progress) == ("stopped", "finished", first.reached)
    result = folder.read_result()
    assert (result.num_devices, result.num_nodes) == (2, 2)
    assert result.phases["train"].device_seconds == pytest.approx(2 * result.phases["train"].seconds)


def test_a_cancelled_job_is_named_the_others_finish_and_the_next_call_completes_it(slurm, tmp_path):
    study, out = written(tmp_path, methods="  - full: {learning_rate: 1e-3}\n" + LORA, steps=200)
    assert run(study, out).returncode == 0
    wait_for(lambda: trains(out, "lora", 5), seconds=120)
    lora = folder_of(out, "lora")
    job = lora.held().holder.job
    slurm.say("scancel", job)
    slurm.ended()
    assert folder_of(out, "full").finished and not lora.finished
    failure = json.loads((lora.path / "failure.json").read_text())["error"]
    assert failure == f"its job {job} was cancelled; `tunelab run` goes on with it"
    assert failure in (out / "report.md").read_text().replace("\\", "")
    assert lora.attempts()[-1].how == "stopped"
    assert run(study, out, "--wait").returncode == 0
    assert lora.finished and not queue(slurm)
    assert lora.attempts()[-1].progress == lora.attempts()[0].reached


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{partition: nope}", "invalid partition specified: nope"),
        ("{gres: 'gpu:9'}", "Requested node configuration is not available"),
        ("{account: lab, partition: lab}", "Invalid account or account/partition combination specified"),
        ("{planner: {partition: nope}}", "invalid partition specified: nope"),
    ],
)
def test_what_slurm_refuses_is_one_line_in_its_own_words_and_nothing_stays_queued(slurm, tmp_path, section, words):
    study, out = written(tmp_path, slurm=section)
    with pytest.raises(ConfigError) as refused:
        tunelab.run(study, out=out)
    assert words in str(refused.value) and len(str(refused.value).splitlines()) == 1
    wait_for(lambda: not queue(slurm), seconds=30)


def test_a_controller_that_does_not_answer_is_unknown_and_not_the_end_of_its_jobs(slurm, tmp_path, monkeypatch):
    study, out = written(tmp_path, steps=4)
    assert run(study, out).returncode == 0
    conf = (slurm.folder / "slurm.conf").read_text()
    (tmp_path / "slurm.conf").write_text(conf.replace("SlurmctldPort=", "SlurmctldPort=1\n#"))
    before = (out / "slurm" / "jobs.jsonl").read_text()
    with monkeypatch.context() as context, pytest.raises(Unreachable, match="unknown what its jobs do: .*Unable to"):
        context.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
        tunelab.run(study, out=out)
    assert (out / "slurm" / "jobs.jsonl").read_text() == before


def test_where_there_is_no_slurm_it_says_so(tmp_path, monkeypatch):
    study, out = written(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = run(study, out)
    assert (
        refused.returncode == 2 and "there is no sbatch here" in refused.stderr and "--cluster local" in refused.stderr
    )
