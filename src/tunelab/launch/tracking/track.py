"""`tunelab track`: what a results folder has, finished or not, is mirrored into trackers."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tunelab.errors import ConfigError, RunError
from tunelab.launch.control.found import find_results
from tunelab.launch.tracking.beside import SWITCH, failure, is_off, kill_group, mirror_process
from tunelab.launch.tracking.sent import TrackerFolder
from tunelab.study.planning.plan import tracker_of


def track_text(study: str, *, out: Path | None, names: Sequence[str]) -> str:
    """Mirror, to the end; a line a tracker.

    Args:
        study: a study, or its results folder.
        names: the trackers; none: those that the study names.

    Raises:
        ConfigError: nothing was started there; an unknown tracker, one that is not installed, or none at all; or
            the environment says off.
        RunError: a tracker did not take it.
    """
    if is_off():
        raise ConfigError(f"{SWITCH}=off is in the environment, so nothing is sent; unset it")
    found = find_results(study, out)
    folder, name = found.store.folder, found.plan.study.name
    if not (names := names or found.plan.study.track):
        raise ConfigError(f"{folder}: its study names no tracker; say --to NAME, one of `tunelab list trackers`")
    trackers = {each: tracker_of(each) for each in names}
    lacks = [f"{each}: {lack}" for each, cls in trackers.items() if (lack := cls.missing())]
    if lacks:
        raise ConfigError(*lacks)
    lines = []
    for each, cls in trackers.items():
        place = TrackerFolder(folder, each)
        _mirror(place, name)
        lines.append(f"{each}: {place.said()}; {cls.look.format(folder=place.path, study=name)}")
    return "\n".join(lines)


def _mirror(place: TrackerFolder, study: str) -> None:
    # Its standard input ends where this process is killed.
    process = mirror_process(place, study, "--patient", stdin=subprocess.PIPE)
    try:
        status = process.wait()
    except BaseException:  # Ctrl-C: it is in a session of its own, and would go on
        kill_group(process)
        raise
    if status:
        raise RunError(failure(place, status))
