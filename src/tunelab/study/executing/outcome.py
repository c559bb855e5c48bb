"""What a run's result says beside its scores."""

from __future__ import annotations

from tunelab.backend_contract import Session
from tunelab.config.run import RunConfig
from tunelab.records import Provenance, RunResult, Score, StepRecord
from tunelab.training.telemetry import Meter

FIRST_STEPS = 3
"""Steps whose speed is told apart: allocation and kernel choice happen there."""


def scored_result(
    run: RunConfig,
    session: Session,
    scores: dict[str, Score],
    meter: Meter,
    *,
    loaded_gib: float | None,
    notes: list[str],
    where: Provenance,
) -> RunResult:
    """The result of a model that was scored; what training adds is left at its defaults."""
    return RunResult(
        run=run.id,
        method=run.method["label"],
        task=run.task,
        seed=run.seed,
        backend=run.backend,
        learning_rate=run.method.get("learning_rate"),
        scores=scores,
        phases=meter.costs(),
        trainable_parameters=session.parameters().trainable,
        total_parameters=session.parameters().total,
        loaded_gib=loaded_gib,
        notes=notes,
        provenance=where,
    )


def spread_of(run: RunConfig) -> dict[str, int | bool]:
    """Over what it is trained, as its result says it."""
    return {"num_devices": run.ranks.count, "num_nodes": run.ranks.nodes, "sharded": run.ranks.shard}


def speed(steps: list[StepRecord]) -> dict[str, float | None]:
    def rate(records: list[StepRecord]) -> float | None:
        seconds = sum(record.seconds for record in records)
        return sum(record.num_tokens for record in records) / seconds if seconds else None

    later = steps[FIRST_STEPS:]
    return {
        "tokens_per_second": rate(later or steps),
        "tokens_per_second_first": rate(steps[:FIRST_STEPS]) if later else None,
    }
