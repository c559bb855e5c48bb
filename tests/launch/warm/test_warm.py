"""Workers forked from a warm parent: the numbers and the memory of a process of one's own, and its ways to end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tiny
from launch.test_resume import STUDY, prepared, records
from launch.test_worker import wait_for
from tunelab.backends.torch.loading import warm
from tunelab.config.launch import Launch, Ranks
from tunelab.config.schema import ModelSource
from tunelab.launch.executor import Executor, worker_environment
from tunelab.launch.ranks.agent import worker_command
from tunelab.launch.warm.pages import mapped_pages
from tunelab.launch.warm.workers import ParentEnded, Parents, WarmParent, forks
from tunelab.launch.worker import STOPPED
from tunelab.ownership import process_start

linux = pytest.mark.skipif(sys.platform != "linux", reason="a warm parent is for Linux")
pytestmark = [pytest.mark.slow, linux]

SHORT = STUDY.replace("steps: 20", "steps: 3")
LONG = STUDY.replace("steps: 20", "steps: 100000").replace("seconds: 0.1", "seconds: 3600")
MIB = 1 / 1024


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny.model_folder(tmp_path_factory.mktemp("warm") / "model")


@pytest.fixture(scope="module")
def parent(tmp_path_factory, model):
    run, _ = prepared(tmp_path_factory.mktemp("warm") / "out", model, "full", study=SHORT)
    parent = WarmParent(run.backend, worker_environment(run))
    yield parent
    parent.close()


def finish(worker) -> int:
    for _ in worker.stdout:
        pass
    return worker.wait(60)


def fresh(run, folder, environment) -> subprocess.Popen:
    return subprocess.Popen(worker_command(run, folder), stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.parametrize(("method", "threads"), [("lora", 1), ("base", 1), ("full", 2)])
def test_a_fork_gives_the_bytes_and_has_the_memory_of_a_process_of_its_own(tmp_path, model, method, threads):
    study, parents, made = SHORT.replace("threads: 1", f"threads: {threads}"), Parents(lambda text: None), []
    for name, start in (("fresh", fresh), ("forked", parents.start)):
        run, folder = prepared(tmp_path / name, model, method, study=study)
        assert finish(start(run, folder, worker_environment(run))) == 0, folder.log.read_text()
        made.append(folder)
    parents.close()
    one, other = made
    assert (one.path / "predictions.jsonl").read_bytes() == (other.path / "predictions.jsonl").read_bytes()
    if method != "base":
        assert records(one, "steps.jsonl") == records(other, "steps.jsonl")
        weights = [next(folder.model.glob("*.safetensors")) for folder in made]
        assert weights[0].read_bytes() == weights[1].read_bytes()
    apart, forked = one.read_result(), other.read_result()
    assert apart.scores == forked.scores and apart.notes == forked.notes
    assert forked.process_gib == pytest.approx(apart.process_gib, abs=6 * MIB), "libraries' pages are missing"
    assert forked.loaded_gib == pytest.approx(apart.loaded_gib, abs=8 * MIB)
    for name, cost in apart.phases.items():  # heaps differ by some MiB from process to process
        assert forked.phases[name].peak_method == cost.peak_method
        assert forked.phases[name].peak_gib == pytest.approx(cost.peak_gib, abs=40 * MIB)


def test_a_worker_that_is_ended_by_a_signal_ends_no_other_run(tmp_path, model, parent):
    _, folder = prepared(tmp_path / "long", model, "full", study=LONG)
    for number in (signal.SIGSEGV, signal.SIGKILL):
        beside, killed = parent.start(folder), None
        wait_for(lambda: folder.steps())
        _, other = prepared(tmp_path / number.name, model, "lora", study=SHORT)
        killed = parent.start(other)
        os.kill(killed.pid, number)
        assert finish(killed) == -number
        assert finish(parent.start(other)) == 0 and other.finished
        assert process_start(beside.pid) is not None
        beside.terminate()
        assert finish(beside) == STOPPED and folder.held() is None


def test_its_log_and_its_threads_are_its_own(tmp_path, model, parent):
    made = [prepared(tmp_path / name, model, "base", study=SHORT) for name in ("one", "two")]
    workers = [parent.start(folder) for _, folder in made]
    environments = [Path(f"/proc/{worker.pid}/environ").read_bytes().split(b"\0") for worker in workers]
    assert [finish(worker) for worker in workers] == [0, 0]
    assert all({b"OMP_NUM_THREADS=1", b"OMP_WAIT_POLICY=passive"} <= {*each} for each in environments)
    for _, folder in made:
        assert folder.attempts()[0].how == "finished" and "Traceback" not in folder.log.read_text()


def test_nothing_but_the_one_thread_is_there_to_be_forked(tmp_path, model, parent):
    _, folder = prepared(tmp_path / "out", model, "base", study=SHORT)
    assert finish(parent.start(folder)) == 0
    tasks = Path(f"/proc/{parent._process.pid}/task").iterdir()
    names = sorted((task / "comm").read_text().strip() for task in tasks)
    assert names[-1] == "python" and {*names[:-1]} <= {"jemalloc_bg_thd"}, "jemalloc starts its own again in a fork"


def test_a_worker_that_has_ended_is_not_waited_for_and_hears_no_signal(tmp_path, model, parent):
    _, folder = prepared(tmp_path / "out", model, "base", study=LONG)
    worker = parent.start(folder)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(0.0)
    worker.kill()
    assert finish(worker) == -signal.SIGKILL
    worker.kill()
    worker.terminate()
    assert worker.wait(0.0) == -signal.SIGKILL


def test_a_parent_that_ends_is_said_once_and_its_run_goes_on_in_a_process_of_its_own(tmp_path, model):
    study = STUDY.replace("steps: 20", "steps: 60")
    run, folder = prepared(tmp_path / "out", model, "full", study=study)
    said, killed = [], []
    with Executor(Launch(), events=lambda run, event: None, told=said.append) as executor:
        executor.start(run, folder)
        wait_for(lambda: folder.checkpoint.exists() and len(folder.steps()) > 4)
        parent = executor._parents._parent
        killed.append(folder.held().holder.pid)
        os.kill(parent._process.pid, signal.SIGKILL)
        assert executor.wait() == {run.id}
    assert folder.finished and process_start(killed[0]) is None
    assert len(said) == 1 and "ended (by SIGKILL); each is started by itself now" in said[0]
    assert len(folder.attempts()) == 2 and folder.attempts()[1].progress[0] > 0, "it began anew"
    assert [record.step for record in folder.steps()] == list(range(1, 61))


def test_a_parent_that_cannot_start_leaves_runs_to_processes_of_their_own(tmp_path, model, monkeypatch):
    run, folder = prepared(tmp_path / "out", model, "base", study=SHORT)
    monkeypatch.setattr(
        "tunelab.backends.torch.backend.TorchHf.command",
        lambda self, module, *given: [sys.executable, "-m" if "warm" not in module else "-Wbroken", module, *given],
    )
    said = []
    with Executor(Launch(), events=lambda run, event: None, told=said.append) as executor:
        executor.start(run, folder)
        executor.wait()
    assert folder.finished and len(said) == 1


def test_workers_and_their_parent_die_with_the_study(tmp_path, model):
    _, folder = prepared(tmp_path / "out", model, "full", study=LONG)
    code = (
        "import sys, time; from pathlib import Path\n"
        "from tunelab.launch.executor import worker_environment; from tunelab.launch.warm.workers import WarmParent\n"
        "from tunelab.study.store import RunFolder\n"
        "folder = RunFolder(Path(sys.argv[1])); run = folder.read_run()\n"
        "parent = WarmParent(run.backend, worker_environment(run)); worker = parent.start(folder)\n"
        "print(parent._process.pid, worker.pid, flush=True); time.sleep(600)\n"
    )
    study = subprocess.Popen([sys.executable, "-c", code, str(folder.path)], stdout=subprocess.PIPE, text=True)
    parent, worker = map(int, study.stdout.readline().split())
    wait_for(lambda: folder.steps())
    study.kill()
    study.wait()
    wait_for(lambda: process_start(worker) is None and process_start(parent) is None)


def test_the_parent_ends_when_the_study_lets_go_of_it(tmp_path, model):
    run, folder = prepared(tmp_path / "out", model, "base", study=SHORT)
    parent = WarmParent(run.backend, worker_environment(run))
    assert finish(parent.start(folder)) == 0
    parent._control.close()
    assert parent._process.wait(30) == 0
    with pytest.raises(ParentEnded):
        parent.start(folder)


def test_only_runs_of_one_cpu_process_of_a_back_end_that_says_so_are_forked(tmp_path, model):
    run, _ = prepared(tmp_path / "out", model, "base", study=SHORT)
    assert forks(run, ())
    assert not forks(run, ("0",)), "a CUDA context is made in no fork"
    assert not forks(run.model_copy(update={"ranks": Ranks(devices=2)}), ())
    assert not forks(run.model_copy(update={"backend": "jittor"}), ())


def test_another_environment_or_model_is_not_forked_from_that_parent(tmp_path, model):
    run, folder = prepared(tmp_path / "out", model, "base", study=SHORT)
    parents = Parents(lambda text: None)
    try:
        worker = parents.start(run, folder, worker_environment(run))
        assert finish(worker) == 0
        assert parents.start(run, folder, worker_environment(run) | {"OMP_NUM_THREADS": "7"}) is None
        other = run.model_copy(update={"model": ModelSource(name="tunelab/tiny")})
        assert parents.start(other, folder, worker_environment(run)) is None
    finally:
        parents.close()
    assert parents.start(run, folder, worker_environment(run)) is None


def test_warming_draws_nothing(model):
    import torch

    before = torch.random.get_rng_state()
    warm(ModelSource(name=str(model)))
    assert torch.equal(before, torch.random.get_rng_state())


def test_pages_of_files_are_found(tmp_path):
    size = os.sysconf("SC_PAGE_SIZE")
    pages = mapped_pages()
    assert sum(length for _, length in pages) > 4 * 2**20, "this process has more code than that"
    assert all(address % size == 0 and length % size == 0 for address, length in pages)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    told = int(status["RssFile"].split()[0]) * 1024
    assert sum(length for _, length in pages) == pytest.approx(told, rel=0.1)
