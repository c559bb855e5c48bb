"""What the runs of both sides say together: speed, memory, whether the losses are equal, and the bars."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from side_by_side.workloads import Mode, Workload

TOLERANCES = {"fp32": 1e-4, "bf16": 2e-3}
"""Of the losses of a step, in nats, where both sides have that precision."""
UNLIKE = 1e-2
"""Where the two differ in precision: W2's losses in bf16 are the peer's in bf16 to 2e-4, and 4e-3 from its fp32."""
FIRST_STEPS = 4
"""Whose losses are compared."""

Run = dict[str, Any]


class Comparison(NamedTuple):
    """One line of the table. What was not measured is None."""

    workload: Workload
    mode: Mode
    about: dict[str, Any]
    ours: Sequence[Run]
    peer: Sequence[Run]

    @property
    def speeds(self) -> list[float]:
        """Of each pair: our tokens a processor second over the peer's."""
        return [rate(mine) / rate(other) for mine, other in zip(self.ours, self.peer, strict=False)]

    @property
    def speed(self) -> float | None:
        return statistics.median(self.speeds) if self.speeds else None

    @property
    def memory(self) -> float | None:
        mine, other = (peak(runs) for runs in (self.ours, self.peer))
        return mine / other if mine and other else None

    @property
    def floor_share(self) -> float | None:
        """Of our steps' time, what the products that must be done would take at the measured rate."""
        shares = [run["floor"]["seconds"] / run["processor_seconds"] for run in self.ours if run.get("floor")]
        return statistics.median(shares) if shares else None

    @property
    def tolerance(self) -> float:
        kinds = {run["precision"] for run in (*self.ours, *self.peer)}
        return TOLERANCES[kinds.pop()] if len(kinds) == 1 else UNLIKE

    @property
    def loss_difference(self) -> float | None:
        """The largest of the first steps, over all pairs."""
        pairs = zip(self.ours, self.peer, strict=False)
        gaps = [
            abs(one - two)
            for mine, other in pairs
            for one, two in list(zip(mine["losses"], other["losses"], strict=True))[:FIRST_STEPS]
        ]
        return max(gaps) if gaps else None

    @property
    def losses_differ(self) -> bool:
        gap = self.loss_difference
        return self.workload.equal_losses and gap is not None and not gap <= self.tolerance  # a NaN differs

    @property
    def equal_texts(self) -> float | None:
        """Of generation: the share of prompts that both sides answer alike."""
        pairs = [(mine, other) for mine, other in zip(self.ours, self.peer, strict=False) if "texts" in mine]
        if not pairs:
            return None
        same = [one == two for mine, other in pairs for one, two in zip(mine["texts"], other["texts"], strict=True)]
        return sum(same) / len(same)

    def line(self) -> str:
        """For a terminal."""
        if self.speed is None or self.memory is None:
            return f"{self.workload.name} {self.mode}: not compared"
        losses = f"losses {'DIFFER by' if self.losses_differ else 'equal to'} {self.loss_difference or 0:.1e}"
        if not self.workload.equal_losses:
            losses = "losses not compared"
        if self.equal_texts is not None:
            losses = f"{self.equal_texts:.1%} of the texts equal"
        floor = "" if self.floor_share is None else f", {self.floor_share:.0%} of the floor"
        return f"{self.workload.name} {self.mode}: {self.speed:.2f} x, memory {self.memory:.2f} x, {losses}{floor}"

    def record(self) -> dict[str, Any]:
        """For the JSON."""
        return {
            "workload": self.workload.name,
            "about": self.workload.about,
            "mode": self.mode,
            "peer": self.workload.peer,
            "rows": self.about.get("rows"),
            "examples_a_step": self.workload.rows.examples,
            "parameters": self.about.get("parameters"),
            "speed": self.speed,
            "speed_of_each_pair": self.speeds,
            "speed_bar": self.workload.bars.of(self.mode),
            "memory": self.memory,
            "memory_bar": self.workload.bars.memory,
            "loss_difference": self.loss_difference,
            "loss_tolerance": self.tolerance if self.workload.equal_losses else None,
            "losses_differ": self.losses_differ,
            "floor_share": self.floor_share,
            "equal_texts": self.equal_texts,
            "ours": [_without_texts(run) for run in self.ours],
            "other": [_without_texts(run) for run in self.peer],
        }


def _without_texts(run: Run) -> Run:
    return {name: value for name, value in run.items() if name != "texts"}


def rate(run: Run) -> float:
    """Real tokens, without padding, a processor second."""
    return run["num_tokens"] / run["processor_seconds"]


def peak(runs: Sequence[Run]) -> float | None:
    """MiB above the loaded weights, median of the runs."""
    return statistics.median(run["peak_above_weights_mib"] for run in runs) if runs else None


def compare(
    workload: Workload, mode: Mode, about: dict[str, Any], *, ours: Sequence[Run], peer: Sequence[Run]
) -> Comparison:
    return Comparison(workload, mode, about, ours, peer)
