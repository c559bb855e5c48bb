"""The scripts that sbatch is given: the runs of a wave as one job array, and small jobs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tunelab.config.launch import Launch, Slurm, SlurmResources
from tunelab.errors import ConfigError

PLANNER_TIME = "1:00:00"
"""Of the job that continues a study, where runs have a limit of their own."""
LARGEST_ARRAY = 1000
"""SLURM's MaxArraySize is 1001 unless a cluster says otherwise."""


class Script(NamedTuple):
    """A text that is not submitted yet."""

    name: str
    """The job's name in the queue."""
    text: str


def wave_script(launch: Launch, *, study: str, folder: Path, manifest: Path, submission: str, count: int) -> Script:
    """The runs of a manifest, one array task each."""
    slurm, name = launch.slurm, f"tunelab-{study}"
    limit = f"%{slurm.at_once}" if slurm.at_once is not None else ""
    options = {
        "job-name": name,
        "array": f"0-{count - 1}{limit}",
        "output": _pattern(folder / "%A_%a.log"),
        "open-mode": "append",
        "requeue": True,
        "signal": f"B:USR1@{slurm.notice}",
        **({"nodes": launch.nodes, "ntasks-per-node": 1} if launch.nodes > 1 else {"ntasks": 1}),
        **_asked(slurm),
    }
    environment = {"TUNELAB_SUBMISSION": submission}
    command = ["tunelab.launch.job", str(folder.parent), str(manifest)]
    return Script(name, _text(options, slurm.lines, environment, _python(slurm, command)))


def planner_script(
    launch: Launch, *, study: str, folder: Path, submission: str, arguments: Sequence[str], after: Sequence[str] = ()
) -> Script:
    """Goes on with the study when the jobs `after` have ended, however."""
    slurm, name = launch.slurm, f"tunelab-{study}-next"
    own = slurm.planner or SlurmResources()
    options = {
        "job-name": name,
        "output": _pattern(folder / "%j.log"),
        "open-mode": "append",
        **({"dependency": f"afterany:{':'.join(after)}", "kill-on-invalid-dep": "yes"} if after else {}),
        "requeue": True,  # it may begin anew at any time
        "ntasks": 1,
        **_asked(_for_planner(slurm, own)),
    }
    command = ["tunelab", *arguments]
    lines = own.lines or slurm.lines
    return Script(name, _text(options, lines, {"TUNELAB_SUBMISSION": submission}, _python(slurm, command)))


def single_script(slurm: Slurm, *, name: str, folder: Path, arguments: Sequence[str]) -> Script:
    """One call of tunelab with a run's resources."""
    options = {
        "job-name": name, "output": _pattern(folder / "%j.log"), "open-mode": "append", "ntasks": 1, **_asked(slurm)
    }  # fmt: skip
    return Script(name, _text(options, slurm.lines, {}, _python(slurm, ["tunelab", *arguments])))


def run_of_task(manifest: Path, task: int) -> str:
    """The id of an array task's run."""
    return manifest.read_text(encoding="utf-8").splitlines()[task]


def _for_planner(slurm: Slurm, own: SlurmResources) -> SlurmResources:
    given = {key: getattr(slurm, key) for key in ("partition", "account", "qos")}
    given |= {"cpus": 1, "time": PLANNER_TIME if slurm.time is not None else None}
    kept = ("reservation", "exclude", "nodelist")
    given["options"] = {key: value for key, value in slurm.options.items() if key in kept}
    return SlurmResources(**(given | own.model_dump(exclude_unset=True)))


def _asked(resources: SlurmResources) -> dict[str, str | int | bool]:
    named = {
        "partition": resources.partition, "account": resources.account, "qos": resources.qos, "time": resources.time,
        "gres": resources.gres, "cpus-per-task": resources.cpus, "mem": resources.memory,
        "constraint": resources.constraint, **resources.options,
    }  # fmt: skip
    return {key: value for key, value in named.items() if value is not None}


def _python(slurm: Slurm, module: Sequence[str]) -> str:
    inside = f"{slurm.container} " if slurm.container else ""
    return f"exec {inside}{shlex.quote(slurm.python or sys.executable)} -m {shlex.join(module)}"


def _pattern(path: Path) -> str:
    """A file name as `#SBATCH --output` takes it."""
    folder = str(path.parent)
    if any(letter in folder for letter in '%"\\') or not folder.isprintable():
        rule = "has a character that SLURM's file names cannot hold"
        raise ConfigError(f"the results folder '{folder}' {rule}; choose another by --out")
    return str(path)


def _text(options: dict[str, str | int | bool], lines: Sequence[str], environment: dict[str, str], last: str) -> str:
    asked = [_option(name, value) for name, value in options.items() if value is not False]
    exported = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    return "\n".join(["#!/bin/bash", *asked, *lines, *exported, last]) + "\n"


def _option(name: str, value: str | int | bool) -> str:
    if value is True:
        return f"#SBATCH --{name}"
    text = str(value)
    return f"#SBATCH --{name}=" + (f'"{text}"' if any(letter.isspace() for letter in text) else text)
