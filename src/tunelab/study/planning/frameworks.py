"""What a study's back ends can, alone and over several devices; what a study that asks for more is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from tunelab import catalogue
from tunelab.backend_contract import Backend
from tunelab.config.explain import got
from tunelab.config.launch import Ranks
from tunelab.config.schema import StudyConfig
from tunelab.contracts import Method
from tunelab.near import did_you_mean
from tunelab.study.planning.planned import PlannedMethod


def ranks_of(study: StudyConfig, method: Method) -> Ranks:
    """A method that makes its model of finished runs takes no step: it has one device."""
    return study.launch.ranks if method.trains else Ranks()


def ranks_of_base(study: StudyConfig) -> Ranks:
    """It is not trained, and so not cut."""
    return study.launch.ranks.model_copy(update={"shard": False})


def unknown_names(study: StudyConfig) -> Iterator[tuple[str, str]]:
    """Back ends and trackers that there are not, or that stand there twice: the key, and the fault."""
    for key, kind, asked in (("backends", "back end", study.backends), ("track", "tracker", study.track)):
        known = catalogue.names("backends" if key == "backends" else "trackers")
        for index, name in enumerate(asked):
            if name not in known:
                fault = f"no {kind} is called {got(name)}.{did_you_mean(name, known)} There are: {', '.join(known)}"
                yield f"{key}.{index}", fault
            elif name in asked[:index]:
                yield f"{key}.{index}", f"{got(name)} stands there twice; delete one"


def backend_problems(
    study: StudyConfig, methods: Sequence[PlannedMethod], backend: Callable[[str], Backend]
) -> Iterator[tuple[str, str]]:
    """Keys of the study and what is wrong with them: what none of its back ends trains, what one of them cannot do."""
    found = {name: backend(name) for name in study.backends}
    for index, method in enumerate(methods):
        if not any(each.supports(method.name) for each in found.values()):
            yield f"methods.{index}.{method.name}", f"{', '.join(found)} cannot train it; add a back end that can"
    for index, (name, each) in enumerate(found.items()):
        if study.precision not in ("auto", *each.precisions):
            only = " and ".join(each.precisions)
            yield (
                f"backends.{index}",
                f"{name} computes in {only}, and precision is {study.precision}; set it to {only}",
            )
        yield from each.problems(study)
    yield from _devices_problems(study, methods, found)
    if study.weights != "fp32":
        yield from _weights_problems(study, methods)


def _weights_problems(study: StudyConfig, methods: Sequence[PlannedMethod]) -> Iterator[tuple[str, str]]:
    """Where trained matrices are to be held in bf16."""
    if study.precision == "fp32":
        yield "weights", "bf16 weights are multiplied in bf16 or fp16, and precision is fp32; set precision: bf16"
    if study.launch.ranks.shard:
        yield "weights", "bf16 weights cannot be cut over devices (launch.shard: true); set weights: fp32"
    if not any(planned.method.narrow_weights for planned in methods):
        yield "weights", "is for methods that train whole weights (full, galore, apollo, lisa), and there are none here"
    for index, planned in enumerate(methods):
        inside = [each for each in planned.method.members if each.narrow_weights]
        if inside and planned.method.trains:
            rule = "its parts hold their weights in fp32; give it a study of its own without weights: bf16"
            yield f"methods.{index}.{planned.name}", rule


def _devices_problems(
    study: StudyConfig, methods: Sequence[PlannedMethod], backends: Mapping[str, Backend]
) -> Iterator[tuple[str, str]]:
    ranks = study.launch.ranks
    if ranks.count == 1:
        return
    for index, (name, backend) in enumerate(backends.items()):
        if not backend.parallel:
            yield f"backends.{index}", f"{name} trains on one device, and launch asks for {_asked(ranks)}"
    if ranks.shard and study.evaluation.engine != "torch":
        rule = "generates from one device, and launch.shard: true cuts the model over several"
        yield "evaluation.engine", f"{study.evaluation.engine} {rule}; take torch, or launch.shard: false"
    if ranks.shard and study.model.tokens:
        yield "model.tokens", "added rows cannot be cut over devices (launch.shard: true); set launch.shard: false"
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
