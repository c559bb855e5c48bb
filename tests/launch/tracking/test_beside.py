"""What a tracker may do beside a study: hang, raise, die, be missing. It costs a line, and seconds at the end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from launch.tracking import fake_trackers
from launch.tracking.tracked_run import WrittenRun
from tunelab import catalogue
from tunelab.config.read import read_study
from tunelab.errors import ConfigError
from tunelab.launch.tracking import beside, mirror
from tunelab.launch.tracking.beside import mirrored, tracked_facts
from tunelab.launch.tracking.sent import TrackerFolder
from tunelab.ownership import own

pytestmark = pytest.mark.slow

STUDY = "{{name: small, model: tunelab/tiny, tasks: [restaurants], methods: [full], track: [{}]}}"


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """Declared for this process and for those that it starts."""
    path = fake_trackers.install(tmp_path / "package")
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.syspath_prepend(tmp_path / "package")
    catalogue._declared.cache_clear()
    yield
    catalogue._declared.cache_clear()


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    run = WrittenRun(folder)
    run.attempt(1)
    run.steps(1, 3)
    return folder


def study(*names):
    return read_study(text=STUDY.format(", ".join(names))).config


def beside_for(results, *names, seconds=3.0, until=lambda: False):
    """What is told of mirrors beside something that takes so long, and the seconds that they took beyond it."""
    told = []
    with mirrored(study(*names), results, told.append):
        deadline = time.monotonic() + seconds
        while not until() and time.monotonic() < deadline:
            time.sleep(0.05)
        ended = time.monotonic()
    return told, time.monotonic() - ended


def kept(results) -> list[str]:
    file = TrackerFolder(results, "keeps").path / "told.txt"
    return file.read_text().splitlines() if file.exists() else []


def test_what_runs_write_meanwhile_is_sent_and_what_they_wrote_last_too(fakes, results):
    told = []
    with mirrored(study("keeps"), results, told.append):
        wait_for(lambda: "send 1 2 3" in kept(results))
        run = WrittenRun(results, "full--task--seed0")
        run.attempt(1)
        run.steps(1, 2)
        run.finish(steps=2)
    assert kept(results) == [
        "begin lora--task--seed0", "send 1 2 3", "begin full--task--seed0", "send 1 2", "end finished", "end stopped",
    ]  # fmt: skip
    assert told == []
    assert tracked_facts(results, ["keeps"]) == {"trackers": "keeps: 1 runs"}
    assert not list(results.rglob("owner-*.json"))


@pytest.mark.parametrize("name", ["hangs", "heavy"])
def test_a_tracker_that_hangs_is_ended_after_the_last_seconds_with_all_that_it_started(
    fakes, results, name, monkeypatch
):
    monkeypatch.setattr(beside, "END_SECONDS", 1.0)
    told, seconds = beside_for(
        results, name, "keeps", until=lambda: len(kept(results)) == 2 and in_log(results, name), seconds=20
    )
    assert seconds < 3
    rest = f"`tunelab track {results} --to {name}` sends the rest."
    assert told == [f"track: {name}: not everything was sent when the study ended; {rest}"]
    assert kept(results)[-1] == "end stopped"
    assert "not everything" in tracked_facts(results, [name])["trackers"]
    assert not processes_of(results)


def in_log(results, name) -> bool:
    return (TrackerFolder(results, name).path / "told.txt").exists()


def processes_of(results) -> list[str]:
    listed = subprocess.run(["ps", "-eww", "-o", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(results) in line]


@pytest.mark.parametrize(
    ("name", "reason"), [("raises", "ValueError: no room for more"), ("dies", "its process was ended by SIGKILL")]
)
def test_a_tracker_that_fails_is_told_at_once_and_the_others_go_on(fakes, results, name, reason):
    told = []
    with mirrored(study(name, "keeps"), results, told.append):
        wait_for(lambda: told and kept(results))
        log = TrackerFolder(results, name).log
        rest = f"(see {log}); `tunelab track {results} --to {name}` sends the rest. The runs go on."
        assert told == [f"track: {name}: {reason} {rest}"]
    assert len(told) == 1
    assert kept(results)[-1] == "end stopped"
    if name == "raises":
        assert "Traceback" in log.read_text()
        assert tracked_facts(results, [name]) == {"trackers": "raises: ValueError: no room for more"}


def test_a_tracker_that_is_not_installed_is_a_line_and_no_process(fakes, results):
    told, _ = beside_for(results, "absent", seconds=0)
    lack = "the package no_such_package is not installed: pip install no-such-package"
    rest = f"Then `tunelab track {results} --to absent` sends all of it. The runs go on."
    assert told == [f"track: absent: {lack}. {rest}"]
    assert tracked_facts(results, ["absent"]) == {"trackers": f"absent: {lack}"}


def test_the_variable_turns_all_off_and_takes_no_other_word(fakes, results, monkeypatch):
    monkeypatch.setenv("TUNELAB_TRACK", "off")
    assert beside_for(results, "keeps", "absent", seconds=0)[0] == []
    assert not (results / "trackers").exists()
    monkeypatch.setenv("TUNELAB_TRACK", "no")
    with pytest.raises(ConfigError, match="^TUNELAB_TRACK is 'no' in the environment: off mirrors nothing"):
        beside_for(results, "keeps", seconds=0)


def test_nothing_of_a_rehearsal_is_sent(fakes, results):
    (results / "rehearsal.json").write_text('{"said": ["a toy"]}')
    told, _ = beside_for(results, "keeps", "absent", seconds=0)
    assert told[0] == "track: nothing of a rehearsal is sent to keeps."
    assert "no-such-package" in told[1]
    assert kept(results) == []


def test_an_error_of_the_study_goes_through_and_the_mirror_ends(fakes, results):
    with pytest.raises(KeyboardInterrupt), mirrored(study("keeps"), results, print):
        raise KeyboardInterrupt
    assert kept(results)[-1] == "end stopped"
    assert not processes_of(results)


PARENT = """
import os, sys, time
from pathlib import Path
from tunelab.config.read import read_study
from tunelab.launch.tracking.beside import mirrored
with mirrored(read_study(text=sys.argv[2]).config, Path(sys.argv[1]), print):
    time.sleep(1000)
"""


def test_a_study_that_is_killed_leaves_a_mirror_that_sends_all_and_ends(fakes, results):
    command = [sys.executable, "-c", PARENT, str(results), STUDY.format("keeps")]
    parent = subprocess.Popen(command)
    wait_for(lambda: kept(results))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    run = WrittenRun(results, "full--task--seed0")
    run.finish(steps=0)
    wait_for(lambda: not processes_of(results))
    assert kept(results)[:2] == ["begin lora--task--seed0", "send 1 2 3"]
    assert "end stopped" in kept(results)
    assert not TrackerFolder(results, "keeps").problem()


def test_a_second_mirror_waits_while_its_study_goes_on_and_then_says_who_holds_it(fakes, results):
    with own(TrackerFolder(results, "keeps").path):
        told, _ = beside_for(results, "keeps", seconds=1)
    assert len(told) == 1
    assert "is being written by" in told[0] and f"process {os.getpid()}" in told[0]
    assert kept(results) == []


def test_a_mirror_goes_on_from_what_another_one_held_before(fakes, results):
    told = []
    with own(TrackerFolder(results, "keeps").path) as holder:
        del holder
        mirrors = mirrored(study("keeps"), results, told.append)
        mirrors.__enter__()
        time.sleep(1)
    wait_for(lambda: "send 1 2 3" in kept(results))
    mirrors.__exit__(None, None, None)
    assert told == []


TRACKING = """
import sys
from tunelab.launch.tracking.track import track_text
print(track_text(sys.argv[1], out=None, names=["hangs"]))
"""


def test_a_call_of_track_that_is_killed_leaves_a_mirror_with_a_limit(fakes, results):
    (results / "study.yaml").write_text(STUDY.format("keeps"))
    parent = subprocess.Popen([sys.executable, "-c", TRACKING, str(results)])
    wait_for(lambda: in_log(results, "hangs"))
    parent.kill()
    parent.wait()
    place = TrackerFolder(results, "hangs")
    wait_for(lambda: place.problem() == mirror.UNFINISHED)
    (line,) = processes_of(results)
    os.kill(int(line.split()[0]), signal.SIGALRM)  # as its alarm will
    wait_for(lambda: not processes_of(results))


def test_two_studies_have_mirrors_of_their_own(fakes, results, tmp_path):
    other = tmp_path / "other"
    run = WrittenRun(other)
    run.attempt(1)
    run.steps(1, 1)
    with mirrored(study("keeps"), results, print), mirrored(study("keeps"), other, print):
        pass
    assert kept(results)[1] == "send 1 2 3"
    assert kept(other)[1] == "send 1"


def wait_for(holds, *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
