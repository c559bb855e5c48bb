"""Runs over two processes of this machine from a study: killed, resumed with another number, broken, stopped."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import tiny
import tunelab
from tunelab.config.launch import Launch, Ranks
from tunelab.config.read import read_study
from tunelab.launch.executor import Executor, worker_environment
from tunelab.launch.ranks.agent import Meeting, worker_command
from tunelab.launch.run import settle
from tunelab.launch.worker import BROKEN, STOPPED
from tunelab.study.planning.plan import make_plan
from tunelab.study.planning.runs import study_runs
from tunelab.study.store import RunFolder, Store

pytestmark = pytest.mark.slow

STUDY = """
name: ranks
model: {model}
tasks: [{{name: restaurants, train_rows: 60, validation_rows: 6, test_rows: 8, metrics: [rouge_l, loss]}}]
methods:
  - full: {{learning_rate: 1e-3}}
  - lora: {{learning_rate: 1e-3}}
  - galore: {{learning_rate: 1e-3, rank: 8}}
seeds: [3]
budget: {{steps: 20}}
batch: {{examples: 4, max_tokens: 256}}
generation: {{max_new_tokens: 4}}
checkpoint: {{seconds: 0.1}}
validation: {{every: 0.2, keep: best}}
precision: fp32
threads: 2
"""
TWO = Ranks(devices=2)
CUT = Ranks(devices=2, shard=True)
ONE = Ranks()


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny.model_folder(tmp_path_factory.mktemp("model") / "model")


def prepared(out: Path, model: Path, method: str, ranks: Ranks, *, study: str = STUDY) -> tuple:
    store = Store(out)
    plan, revisions = settle(make_plan(read_study(text=study.format(model=model))), store)
    runs = study_runs(plan, revisions, store, settled=lambda run_id: False)
    run = next(each.run for each in runs if each.entry.method == method)
    return with_ranks(run, store.run(run.id), ranks)


def with_ranks(run, folder: RunFolder, ranks: Ranks) -> tuple:
    run = run.model_copy(update={"ranks": ranks})
    folder.write_run(run, {})
    return run, folder


def execute(run, folder: RunFolder) -> list[dict]:
    events: list[dict] = []
    with Executor(Launch(), events=lambda run, event: events.append(event)) as executor:
        executor.start(run, folder)
        executor.wait()
    return events


def started(run, folder: RunFolder, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        worker_command(run, folder), stdout=subprocess.PIPE, text=True, env=worker_environment(run) | environment
    )


def wait_for_steps(process: subprocess.Popen, folder: RunFolder, steps: int) -> None:
    deadline = time.monotonic() + 300
    while len(folder.steps()) < steps:
        assert process.poll() is None, folder.log.read_text()
        assert time.monotonic() < deadline, "no steps came"
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rank_of(pid: int) -> str:
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(entry.decode().removeprefix("RANK=") for entry in entries if entry.startswith(b"RANK="))


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def all_gone(pids: list[int], *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(lives, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def losses(folder: RunFolder) -> list[float]:
    return [record.loss for record in folder.steps()]


@pytest.fixture(scope="module")
def single(tmp_path_factory, model) -> dict[str, RunFolder]:
    """The same runs in one process."""
    found = {}
    for method in ("full", "lora", "galore"):
        run, folder = prepared(tmp_path_factory.mktemp("one"), model, method, ONE)
        execute(run, folder)
        assert folder.finished, folder.log.read_text()
        found[method] = folder
    return found


SETTINGS = [("full", TWO, ONE), ("lora", ONE, TWO), ("full", CUT, ONE), ("galore", ONE, CUT)]


@pytest.mark.parametrize(("method", "before", "after"), SETTINGS)
def test_a_killed_run_goes_on_with_another_number_of_ranks(method, before, after, tmp_path, model, single):
    run, folder = prepared(tmp_path, model, method, before)
    process = started(run, folder)
    wait_for_steps(process, folder, 9)
    pids = [process.pid, *children(process.pid)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(pids) == 1 + (before.count if before.count > 1 else 0)
    assert all_gone(pids, seconds=10), "processes outlive their agent"

    run, folder = with_ranks(run, folder, after)
    events = execute(run, folder)
    assert folder.finished, folder.log.read_text()
    assert any(event["event"] == "resumed" and event["step"] >= 1 for event in events), "it began anew"
    assert losses(folder) == pytest.approx(losses(single[method]), abs=1e-5 if method == "lora" else 1e-4)
    result, alone = folder.read_result(), single[method].read_result()
    assert result.scores["loss"].value == pytest.approx(alone.scores["loss"].value, abs=1e-4)
    told = [note for note in result.notes if note.startswith("trained on ")]
    cut = ", weights, gradients and optimizer state cut over them" if after.shard else ""
    assert told == ([f"trained on 2 devices{cut}"] if after.count == 2 else [])


def test_a_rank_that_dies_fails_the_run_with_its_name_within_seconds(tmp_path, model):
    run, folder = prepared(tmp_path, model, "full", TWO)
    process = started(run, folder)
    wait_for_steps(process, folder, 3)
    pids = children(process.pid)
    os.kill(next(pid for pid in pids if rank_of(pid) == "1"), signal.SIGKILL)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == BROKEN
    error = json.loads((folder.path / "failure.json").read_text())["error"]
    assert error.startswith("rank 1 of the run was ended by SIGKILL (out of memory? lower batch.max_tokens); see ")
    assert json.loads(out.splitlines()[-1]) == {"event": "failed", "error": error}
    assert all_gone(pids, seconds=10)


def test_an_error_on_a_rank_fails_the_run_in_its_words(tmp_path, model):
    run, folder = prepared(tmp_path, model, "full", TWO)
    patch = tmp_path / "patch"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(
        "import os\n"
        "if os.environ.get('RANK') == '1':\n"
        "    from tunelab.training import optim\n"
        "    def broken(*given, **settings):\n"
        "        raise ValueError('this rank is broken')\n"
        "    optim.SharedRule.gradient_norm = broken\n"
    )
    paths = os.pathsep.join([str(patch), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = started(run, folder, PYTHONPATH=paths)
    wait_for = process.wait(timeout=90)
    assert wait_for == BROKEN
    error = json.loads((folder.path / "failure.json").read_text())["error"]
    assert error == f"rank 1: ValueError: this rank is broken; see {folder.log}"
    assert "Traceback" in folder.log.read_text()


def test_rank_0_decides_when_to_stop_and_what_listens_is_on_the_loopback(tmp_path, model, single):
    run, folder = prepared(tmp_path, model, "full", TWO)
    process = started(run, folder)
    wait_for_steps(process, folder, 3)
    pids = children(process.pid)
    assert {address for pid in [process.pid, *pids] for address in listening(pid)} <= {"0100007F"}
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == STOPPED, folder.log.read_text()
    assert not folder.failed and not folder.finished
    assert all_gone(pids, seconds=10)
    execute(run, folder)
    assert losses(folder) == pytest.approx(losses(single["full"]), abs=1e-4)


def listening(pid: int) -> set[str]:
    """Local addresses of its listening sockets, as the kernel writes them."""
    held = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            held.add(os.readlink(entry))
        except OSError:
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in held:
                found.add(fields[1].split(":")[0])
    return found


def test_a_study_over_two_devices_gives_a_report(tmp_path, model):
    facts = yaml.safe_load(STUDY.format(model=model)) | {"launch": {"devices": 2}, "budget": {"steps": 4}}
    (tmp_path / "ranks.yaml").write_text(yaml.safe_dump(facts))
    command = [sys.executable, "-m", "tunelab", "run", str(tmp_path / "ranks.yaml"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    results = [RunFolder(path).read_result() for path in sorted((tmp_path / "out" / "runs").iterdir())]
    assert [result.num_devices for result in results] == [2] * 4
    assert "evaluated on 2 devices" in results[0].notes
    for phase, cost in results[1].phases.items():
        if phase not in ("train", "save"):
            continue
        assert cost.peak_gib is not None and cost.peak_all_gib is not None, phase
        assert cost.peak_gib < cost.peak_all_gib <= 2 * cost.peak_gib, "the largest, and all together"
        assert cost.device_seconds == pytest.approx(2 * cost.seconds)
    assert (tmp_path / "out" / "report.html").exists()
    assert tunelab.plan(tmp_path / "ranks.yaml").runs


def test_two_nodes_meet_at_the_endpoint(tmp_path, model, single):
    """Two agents with one process each, as srun starts them."""
    run, folder = prepared(tmp_path, model, "lora", Ranks(nodes=2))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = Meeting("7-0", f"127.0.0.1:{free.getsockname()[1]}")
    command = worker_command(run, folder, meeting)
    agents = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=worker_environment(run)) for _ in "ab"]
    out = [agent.communicate(timeout=200)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], folder.log.read_text()
    assert folder.finished and sum(bool(each) for each in out) == 1, "rank 0 alone tells events"
    assert "trained on 2 devices (2 nodes)" in folder.read_result().notes
    assert losses(folder) == pytest.approx(losses(single["lora"]), abs=1e-5)
