"""One writer of a folder: who may take it, and that the one who lost it writes nothing more."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import tiny
from launch.test_resume import prepared
from tunelab import ownership
from tunelab.errors import RunBusy
from tunelab.ownership import HEARTBEAT, STALE_SECONDS, holder_of, own, process_start, this_process
from tunelab.study.store import RunFolder
from tunelab.training.state import Checkpoints, LoopState


def held_by(folder, number=1, *, silent=0.0, **differs):
    """As if that process held the folder, silent since so many seconds."""
    folder.mkdir(exist_ok=True)
    holder = this_process()._replace(**differs)
    file = folder / f"owner-{number:06d}.json"
    file.write_text(json.dumps(holder._asdict()))
    then = time.time() - silent
    os.utime(file, (then, then))
    return holder


def left(folder):
    """Files beside the one that says which number was used last."""
    released = list(folder.glob(".released-*.json"))
    assert len(released) <= 1
    return [path.name for path in folder.iterdir() if path not in released]


def test_a_living_process_of_this_host_is_not_disturbed_however_silent(tmp_path):
    held_by(tmp_path, silent=10 * STALE_SECONDS)
    with pytest.raises(RunBusy, match=f"process {os.getpid()}, last sign of life 9.. s ago; wait for it, or end it"):
        with own(tmp_path):
            pass


@pytest.mark.slow
def test_a_process_that_is_gone_or_another_one_is_taken_over_and_nothing_is_left(tmp_path):
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    for differs in ({"pid": done.pid}, {"start": "1"}):  # the second one's id lives, but it is another process
        held_by(tmp_path, **differs)
        with own(tmp_path):
            assert holder_of(tmp_path).holder.pid == os.getpid() and holder_of(tmp_path).alive
        assert left(tmp_path) == []


@pytest.mark.parametrize("elsewhere", [{"host": "node7"}, {"boot": "b"}, {"namespace": "pid:[1]"}])
def test_a_process_that_cannot_be_seen_is_judged_by_its_heartbeat_never_by_its_id(tmp_path, elsewhere):
    holder = held_by(tmp_path, silent=10 * STALE_SECONDS, **elsewhere)
    (tmp_path / HEARTBEAT).write_text(json.dumps({"nonce": holder.nonce, "when": 0, "facts": {"step": 7}}))
    assert holder_of(tmp_path).alive and holder_of(tmp_path).facts == {"step": 7}
    with pytest.raises(RunBusy, match=f"{holder.host}, process {os.getpid()}"), own(tmp_path):
        pass
    then = time.time() - STALE_SECONDS - 1
    os.utime(tmp_path / HEARTBEAT, (then, then))
    assert not holder_of(tmp_path).alive
    with own(tmp_path):
        assert holder_of(tmp_path).holder.nonce != holder.nonce
    assert holder_of(tmp_path) is None


def test_a_patient_process_waits_until_the_folder_is_free(tmp_path):
    held = own(tmp_path)
    held.__enter__()
    threading.Timer(0.3, held.__exit__, (None, None, None)).start()
    with own(tmp_path, patience=60) as mine, pytest.raises(RunBusy), own(tmp_path, patience=0.1):
        mine.check()


def test_another_ones_heartbeat_is_no_sign_of_life(tmp_path):
    held_by(tmp_path, silent=2 * STALE_SECONDS, host="node7")
    (tmp_path / HEARTBEAT).write_text(json.dumps({"nonce": "another", "when": 0, "facts": {}}))
    assert not holder_of(tmp_path).alive


def test_an_earlier_start_of_the_same_job_is_over_though_it_lives(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    with own(tmp_path) as orphan:
        orphan.check()
        with pytest.raises(RunBusy, match=r"\(job 12_3\)"), own(tmp_path):
            pass
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
        with own(tmp_path) as second:
            with pytest.raises(RunBusy, match=r"taken over by .*\(job 12_3, restart 1\); this process writes nothing"):
                orphan.check()
            second.check()
        with pytest.raises(RunBusy):  # not after its release either
            orphan.check()
        with own(tmp_path) as third:  # nor when another one has the number that it had
            with pytest.raises(RunBusy):
                orphan.check()
            third.check()


def test_its_release_by_the_one_who_lost_it_leaves_the_new_holder(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    with own(tmp_path):
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
        second = own(tmp_path)
        held = second.__enter__()
    held.check()
    second.__exit__(None, None, None)
    assert left(tmp_path) == []


def test_a_run_that_was_taken_over_is_written_by_the_new_holder_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    _, first = prepared(tmp_path / "out", tiny.model_folder(tmp_path / "model"), "lora")
    old, new = first, RunFolder(first.path)
    checkpoints = Checkpoints(old.checkpoint, seconds=0, check=old.check)
    with old.lock():
        checkpoints.save(LoopState(step=1), lambda folder: None)
        old.write_harness({"by": "old"})
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
        with new.lock():
            new.write_harness({"by": "new"})
            for write in (
                lambda: old.write_harness({"by": "orphan"}),
                lambda: old.write_predictions([]),
                lambda: old._append("steps.jsonl", "{}"),
                lambda: checkpoints.save(LoopState(step=2), lambda folder: None),
            ):
                with pytest.raises(RunBusy):
                    write()
    with pytest.raises(RunBusy):  # a failure of the orphan's neither
        old.write_failure("because it was taken over")
    assert json.loads((old.path / "harness.json").read_text()) == {"by": "new"}
    assert sorted(left(old.path)) == ["checkpoint", "harness.json", "run.json"]
    assert [path.name for path in old.checkpoint.iterdir()] == ["step-000000001"]


def test_of_a_lost_race_for_a_checkpoints_name_nothing_is_left_for_long(tmp_path):
    """The fence falls while the checkpoint is written: it does not get its name, and the next one sweeps it up."""
    fallen = []

    def check():
        if fallen:
            raise RunBusy("taken over")

    with pytest.raises(RunBusy):
        Checkpoints(tmp_path, seconds=0, check=check).save(LoopState(step=1), lambda folder: fallen.append(1))
    assert Checkpoints(tmp_path, seconds=0).latest() is None
    Checkpoints(tmp_path, seconds=0).save(LoopState(step=1), lambda folder: None)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]


def test_a_heartbeat_tells_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(ownership, "BEAT_SECONDS", 0.01)
    with own(tmp_path) as mine:
        mine.tell(phase="train", step=3)
        mine.tell(step=4)
        deadline = time.monotonic() + 20
        while holder_of(tmp_path).facts != {"phase": "train", "step": 4}:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert holder_of(tmp_path).silent_seconds < 10
    assert left(tmp_path) == []


RACER = """
import sys, time
from pathlib import Path
from tunelab.errors import RunBusy
from tunelab.ownership import own
folder, inside, log = Path(sys.argv[1]), Path(sys.argv[1] + ".inside"), Path(sys.argv[1] + ".log")
won, end = 0, time.monotonic() + 20
while won < 20 and time.monotonic() < end:
    try:
        with own(folder):
            inside.mkdir()  # fails where another one is inside too
            won += 1
            inside.rmdir()
    except RunBusy:
        pass
with log.open("a") as file:
    file.write(f"{won}\\n")
"""


@pytest.mark.slow
def test_of_several_processes_one_is_inside_at_a_time(tmp_path):
    racers = [subprocess.Popen([sys.executable, "-c", RACER, str(tmp_path / "folder")]) for _ in range(4)]
    assert [racer.wait() for racer in racers] == [0] * 4
    assert [int(line) for line in (tmp_path / "folder.log").read_text().split()] == [20] * 4
    assert left(tmp_path / "folder") == []


@pytest.mark.slow
def test_a_zombie_is_dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 20
    while process_start(child.pid) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.wait()
    assert process_start(child.pid) is None


def test_a_full_disk_leaves_no_file_of_who_asked(tmp_path, monkeypatch):
    def full(path, text):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"), own(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_files_of_processes_that_were_killed_while_they_asked_go(tmp_path):
    old, new = tmp_path / ".owner.old", tmp_path / ".owner.new"
    for path in (old, new):
        path.write_text("{}")
    os.utime(old, (0, 0))
    with own(tmp_path):
        assert not old.exists() and new.exists(), "it may be asking right now"
