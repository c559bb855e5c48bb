"""The finished runs that a run is made of: their models, and what it cost to train them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tunelab.config.run import RunConfig
from tunelab.errors import ModelError
from tunelab.records import PhaseCost, RunResult
from tunelab.study.store import RunFolder
from tunelab.training.energy.counters import added


class Parent(NamedTuple):
    label: str
    model: Path
    """What its method saved."""
    result: RunResult


def finished_parents(run: RunConfig, folder: RunFolder) -> list[Parent]:
    """In the order in which the method names them; they lie beside the run's own folder.

    Raises:
        ModelError: one has no result or no model.
    """
    found = []
    for parent in run.parents:
        beside = RunFolder(folder.path.parent / parent.id)
        result = beside.read_result()
        if result is None or not beside.model.is_dir():
            raise ModelError(
                f"{parent.method['label']}: its run {parent.id} has left no model; `tunelab run` the study again"
            )
        found.append(Parent(parent.method["label"], beside.model, result))
    return found


def training_cost(parents: Sequence[Parent]) -> PhaseCost:
    """The parents were trained one after the other: seconds and joules are added, the peak is the highest."""
    costs = [parent.result.phases["train"] for parent in parents]
    cost = PhaseCost(
        seconds=sum(cost.seconds for cost in costs),
        peak_gib=_highest([cost.peak_gib for cost in costs]),
        peak_method=costs[0].peak_method,
        rapl_joules=added(*(cost.rapl_joules for cost in costs)),
        nvml_joules=added(*(cost.nvml_joules for cost in costs)),
    )
    if all(cost.device_seconds is None for cost in costs):
        return cost
    in_all = {
        "device_seconds": sum(cost.seconds_in_all for cost in costs),
        "peak_all_gib": _highest([cost.peak_in_all_gib for cost in costs]),
    }
    return cost.model_copy(update=in_all)


def training_spread(parents: Sequence[Parent]) -> dict[str, int | bool]:
    """Of the training that is this run's cost: where the parents' differ, the widest; their device seconds tell."""
    results = [parent.result for parent in parents]
    return {
        "num_devices": max(result.num_devices for result in results),
        "num_nodes": max(result.num_nodes for result in results),
        "sharded": any(result.sharded for result in results),
    }


def _highest(peaks: Sequence[float | None]) -> float | None:
    known = [peak for peak in peaks if peak is not None]
    return max(known) if len(known) == len(peaks) else None


def training_note(parents: Sequence[Parent]) -> str:
    """For the report: this row has no training of its own."""
    each = ", ".join(
        f"{parent.label} ({parent.result.phases['train'].seconds:.1f} s, {parent.result.num_steps} steps, "
        f"{parent.result.num_tokens:,} tokens)"
        for parent in parents
    )
    return f"trains nothing itself; train time is the sum and train memory the highest of what it is made of: {each}"
