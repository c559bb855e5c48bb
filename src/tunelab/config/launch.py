"""Where runs execute: in this process, in processes of this machine, or as jobs of a SLURM cluster."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from tunelab.config.section import Section
from tunelab.near import did_you_mean

MEETING = "TUNELAB_MEETING"
"""In the environment of a run over several devices of one node: the file where its processes meet."""

Cluster = Literal["local", "in-process", "slurm"]

KNOWN_OPTIONS = frozenset(
    """
    account acctg-freq batch bb bbf begin comment constraint container container-id
    contiguous core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot distribution exclude
    exclusive export export-file extra extra-node-info get-user-env gid gpu-bind gpu-freq gpus gpus-per-node
    gpus-per-socket gpus-per-task gres gres-flags hint ignore-pbs licenses mail-type mail-user mcs-label mem
    mem-bind mem-per-cpu mem-per-gpu mincpus network nice no-kill nodefile nodelist ntasks-per-core ntasks-per-gpu
    ntasks-per-socket overcommit oversubscribe partition power prefer priority profile propagate qos quiet reboot
    reservation segment sockets-per-node spread-job stepmgr switches thread-spec threads-per-core time time-min tmp
    tres-per-job tres-per-task uid use-min-nodes verbose wckey
    """.split()
)
"""Long options of sbatch 20 to 25 that a study may give."""

ELSEWHERE_OPTIONS = frozenset(["cluster-constraint", "clusters"])
"""Jobs of another cluster than the one that is asked could not be followed."""

OWN_OPTIONS = frozenset(
    """
    array chdir dependency error hold input job-name kill-on-invalid-dep nodes no-requeue ntasks ntasks-per-node
    open-mode output parsable requeue signal test-only wait wait-all-nodes wrap
    """.split()
)
"""Set by tunelab itself."""

_FIELDS = {
    "partition": "partition", "account": "account", "qos": "qos", "time": "time", "gres": "gres",
    "cpus-per-task": "cpus", "mem": "memory", "constraint": "constraint",
}  # fmt: skip
"""Options that have a field of their own."""


def _line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be one line of printable characters")
    return value


LOOK_SECONDS = 30
"""SLURM looks at limits so often, and sends a signal at the first look at which it is due before the next one."""
Line = Annotated[str, Field(min_length=1), AfterValidator(_line)]
Word = Annotated[str, Field(min_length=1, pattern=r"^\S+$"), AfterValidator(_line)]


def _time(value: str | int) -> str | int:
    if isinstance(value, str) and not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", value):
        raise ValueError("must be minutes, or HOURS:MINUTES:SECONDS, or DAYS-HOURS:MINUTES:SECONDS")
    return value


def seconds_of(time: str | int) -> int:
    """Of a limit as SLURM reads it: minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]]."""
    days, dash, rest = str(time).rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    else:
        hours, minutes, seconds = {1: (0, *parts, 0), 2: (0, *parts), 3: tuple(parts)}[len(parts)]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def _options(values: dict[str, str | int | bool]) -> dict[str, str | int | bool]:
    for name, value in values.items():
        if name in _FIELDS:
            raise ValueError(f"'{name}' has a field of its own: {_FIELDS[name]}, beside options")
        if name in OWN_OPTIONS:
            raise ValueError(f"'{name}' is set by tunelab itself; leave it out")
        if name in ELSEWHERE_OPTIONS:
            raise ValueError(f"'{name}' sends jobs to another cluster, where they could not be followed; submit there")
        if name not in KNOWN_OPTIONS:
            raise ValueError(f"sbatch has no option called '{name}'.{did_you_mean(name, KNOWN_OPTIONS)}")
        _line(str(value))
    return values


class SlurmResources(Section):
    """What a job asks for; what is left out is SLURM's own default."""

    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None

    time: Annotated[str | PositiveInt, AfterValidator(_time)] | None = None
    """Limit of a job: minutes, HOURS:MINUTES:SECONDS or DAYS-HOURS:MINUTES:SECONDS. A run that needs longer is
    requeued and goes on where it stopped."""

    gres: Word | None = None
    """Generic resources of a node, such as gpu:1 or gpu:a100:2."""

    cpus: PositiveInt | None = None
    """Processor cores of a run; `threads: auto` is this number."""

    memory: Word | PositiveInt | None = None
    """Of a node, such as 32G; a number is MiB."""

    constraint: Line | None = None

    options: Annotated[dict[str, str | int | bool], AfterValidator(_options)] = {}
    """Further options of sbatch by their long names, such as {reservation: course, exclusive: true}."""

    lines: tuple[Line, ...] = ()
    """Shell lines before the program: module load, source, export."""


class Slurm(SlurmResources):
    """Jobs of a SLURM cluster (docs/slurm.md)."""

    at_once: PositiveInt | None = None
    """Runs at a time, at most; left out: as many as the cluster gives."""

    container: Line | None = None
    """What the program is started by inside of a job, such as 'apptainer exec --nv /images/tunelab.sif'."""

    python: Word | None = None
    """The interpreter on the nodes; left out: the one that submits."""

    @property
    def asks_for_gpus(self) -> bool:
        named = [self.gres or "", *(str(self.options.get(name, "")) for name in ("tres-per-job", "tres-per-task"))]
        return any("gpu" in text for text in named) or any(name.startswith("gpus") for name in self.options)

    notice: Annotated[int, Field(ge=10)] = 120
    """Seconds before the time limit at which a run is told to write its checkpoint and to requeue."""

    @model_validator(mode="after")
    def _noticed(self) -> Slurm:
        limit, least = None if self.time is None else seconds_of(self.time), self.notice + LOOK_SECONDS
        if limit is not None and limit <= least:
            rule = f"time {self.time} is {limit} s, and a run is told to stop {self.notice} to {least} s before its end"
            raise ValueError(f"{rule}: it would never get further; give more time, or less notice")
        return self

    planner: SlurmResources | None = None
    """Where it differs for the small job that continues a study after a wave of runs: one core, no gres, no memory of
    its own and an hour otherwise, in the same partition."""


class Ranks(Section):
    """Over how many devices one run is spread."""

    devices: PositiveInt = 1
    """Devices of a run on each of its nodes: every step's examples are cut over them, each holds the whole model
    (data parallel)."""

    nodes: PositiveInt = 1
    """Nodes of a run; more than one only with cluster: slurm."""

    shard: bool = False
    """Cut weights, gradients and optimizer state over the devices too (FSDP2)."""

    @property
    def count(self) -> int:
        return self.devices * self.nodes

    @model_validator(mode="after")
    def _several(self) -> Ranks:
        if self.shard and self.count == 1:
            raise ValueError("shard: true cuts the weights over several devices: give devices or nodes too")
        return self


class Launch(Ranks):
    """Where runs execute."""

    cluster: Cluster = "local"
    """local: each run in a process of its own. slurm: as jobs of a cluster. in-process: for debugging; its memory peaks
    are marked."""

    workers: PositiveInt | Literal["auto"] = "auto"
    """Runs at a time on this machine; auto: as many as there are GPUs for, and one on a CPU. More than one changes no
    score and no memory peak, but on a CPU runs slow each other down a little: give each `threads` = cores / workers."""

    fork: bool = True
    """Runs on the CPU of this machine begin as forks of one process that has imported everything (Linux). false: each
    imports by itself. Neither changes a number."""

    slurm: Slurm = Slurm()

    @property
    def ranks(self) -> Ranks:
        return Ranks(devices=self.devices, nodes=self.nodes, shard=self.shard)

    @model_validator(mode="after")
    def _placed(self) -> Launch:
        if self.cluster == "in-process" and self.count > 1:
            raise ValueError("cluster: in-process is one process; devices and nodes want local or slurm")
        return self


def unplaced(launch: Launch) -> list[tuple[str, str]]:
    """What cannot be where the study is started, with `--cluster` applied: key and problem."""
    if launch.cluster != "slurm":
        problem = f"{launch.nodes} nodes need cluster: slurm; here it is {launch.cluster}"
        return [("launch.nodes", problem)] if launch.nodes > 1 else []
    gres = launch.slurm.gres or ""
    number = gres.rpartition(":")[2] if gres.startswith("gpu") else ""
    if number.isdigit() and int(number) < launch.devices:
        return [("launch.devices", f"a run wants {launch.devices} devices a node, and slurm.gres asks for {gres}")]
    return []
