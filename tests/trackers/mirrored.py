"""Records mirrored for real, by a process without a network, on a host and for a user whose names can be found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from launch.tracking.tracked_run import WrittenRun
from tunelab.launch.tracking.sent import TrackerFolder
from tunelab.study.planning.plan import tracker_of

HOST, USER = "annspc", "annuser"
RUN, FAILED, ANEW = "lora--task--seed0", "full--task--seed0", "dora--task--seed0"
STUDY = "small"
CUT = ("--net", "--uts")
OWN = ("log.txt", "sent.json")
"""Files of the mirror's own, beside the tracker's; and those that begin with a dot or 'owner'."""


def required(name: str) -> None:
    """The tracker, or a skipped test; with TUNELAB_REQUIRE_ALL=1 a failed one."""
    lack = tracker_of(name).missing()
    if lack and os.environ.get("TUNELAB_REQUIRE_ALL") == "1":
        pytest.fail(lack)
    if lack:
        pytest.skip(lack)


@cache
def without_network() -> tuple[str, ...]:
    """What a command is started by, so that it has no network and another host name."""
    for user in ((), ("--map-root-user",)):
        command = ("unshare", *user, *CUT)
        if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return (*command, "sh", "-c", f'hostname {HOST} && exec "$@"', "sh")
    if os.environ.get("TUNELAB_REQUIRE_ALL") == "1":
        pytest.fail("no network name space can be made here (unshare --net)")
    pytest.skip("no network name space can be made here (unshare --net)")


def mirror(results: Path, name: str) -> None:
    """As `tunelab track` starts it."""
    place = results / "trackers" / name
    place.mkdir(parents=True, exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "MLFLOW_"))}
    environment |= {"USER": USER, "LOGNAME": USER}
    command = [sys.executable, "-m", "tunelab.launch.tracking.mirror", str(results), name, STUDY, "--patient"]
    with (place / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [*without_network(), *command], env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log
        )
        status = process.wait(300)
    process.stdin.close()
    assert status == 0, (place / "log.txt").read_text()


def mirrored_twice(results: Path, name: str) -> None:
    """One run that is mirrored, killed, resumed from a checkpoint before its last step, mirrored and scored again; and
    one that failed; and one that is trained anew after its folder was deleted, and stopped. The first mirror is killed
    before it has written down that it sent the last step."""
    run = WrittenRun(results, RUN)
    run.attempt(1)
    run.steps(1, 3)
    run.validation(2)
    old = WrittenRun(results, ANEW)
    old.attempt(1)
    old.steps(1, 3)
    mirror(results, name)
    place = TrackerFolder(results, name)
    sent = place.read_sent()
    place.write_sent({**sent, RUN: sent[RUN].model_copy(update={"step": 2})})
    shutil.rmtree(old.folder.path)
    new = WrittenRun(results, ANEW)
    new.attempt(3)
    new.steps(1, 2, loss=9.0)
    run.attempt(2, at=3)
    run.folder.rewind(step=2)
    run.steps(3, 5)
    run.validation(4)
    run.finish(steps=5)
    failed = WrittenRun(results, FAILED)
    failed.attempt(1)
    failed.steps(1, 1)
    failed.fail()
    mirror(results, name)
    run.finish(steps=5, rouge=0.75)
    mirror(results, name)


def said_too_much(results: Path, name: str) -> list[str]:
    """Words that no tracker may have got, and where they are."""
    words = [HOST, USER, "my secret", "/home/ann", "hardware"]
    files = [path for path in (results / "trackers" / name).rglob("*") if path.is_file()]
    theirs = [path for path in files if path.name not in OWN and not path.name.startswith((".", "owner-"))]
    assert theirs
    names = [f"{path}: {HOST}" for path in theirs if HOST in path.name]
    return names + [f"{path}: {word}" for path in theirs for word in words if word.encode() in path.read_bytes()]
