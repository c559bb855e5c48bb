"""Runs over several devices: which methods and back ends can, and what a study that asks for more is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tunelab.backend_contract import Backend
from tunelab.config.launch import Ranks
from tunelab.config.schema import StudyConfig
from tunelab.contracts import Method
from tunelab.study.planning.planned import PlannedMethod


def ranks_of(study: StudyConfig, method: Method) -> Ranks:
    """A method that makes its model of finished runs takes no step: it has one device."""
    return study.launch.ranks if method.trains else Ranks()


def ranks_of_base(study: StudyConfig) -> Ranks:
    """It is not trained, and so not cut."""
    return study.launch.ranks.model_copy(update={"shard": False})


def devices_problems(
    study: StudyConfig, methods: Sequence[PlannedMethod], backend: Callable[[str], Backend]
) -> Iterator[tuple[str, str]]:
    """Keys of the study and what is wrong with them."""
    ranks = study.launch.ranks
    if ranks.count == 1:
        return
    for index, name in enumerate(study.backends):
        if not backend(name).parallel:
            yield f"backends.{index}", f"{name} trains on one device, and launch asks for {_asked(ranks)}"
    if ranks.shard and study.evaluation.engine != "torch":
        rule = "generates from one device, and launch.shard: true cuts the model over several"
        yield "evaluation.engine", f"{study.evaluation.engine} {rule}; take torch, or launch.shard: false"
    for index, planned in enumerate(methods):
        faults = dict.fromkeys(_fault(planned.name, each.method, ranks) for each in planned.candidates)
        for fault in filter(None, faults):
            yield f"methods.{index}.{planned.name}", fault


def _fault(name: str, method: Method, ranks: Ranks) -> str:
    if not method.trains:
        return ""
    if not method.parallel:
        way = "give it a study of its own without launch.devices and nodes; docs/devices.md has those that can"
        return f"trains on one device, and launch asks for {_asked(ranks)}; {way}"
    if ranks.shard and not method.shards:
        way = "launch.shard: false, or a study of its own; docs/devices.md has those that can"
        return f"cannot be cut over devices (launch.shard: true); {way}"
    if ranks.shard and method.optimizer_kind != "adamw":
        return f"optimizer {method.optimizer_kind} cannot be cut over devices (launch.shard: true), adamw can"
    return ""


def _asked(ranks: Ranks) -> str:
    return f"{ranks.count} devices" if ranks.nodes == 1 else f"{ranks.count} devices on {ranks.nodes} nodes"
