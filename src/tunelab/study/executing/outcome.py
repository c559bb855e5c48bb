"""What a run's result says beside its scores."""

from __future__ import annotations

from collections.abc import Sequence

from tunelab.backend_contract import Session
from tunelab.config.run import RunConfig
from tunelab.data.tokens.batching import largest_batch
from tunelab.records import Provenance, RowSize, RunResult, Score, StepRecord, TokenRow
from tunelab.training.step import run_order
from tunelab.training.telemetry import Meter

FIRST_STEPS = 3
"""Steps whose speed is told apart: allocation and kernel choice happen there."""
MOST_NAMED = 8
"""Of skipped steps, by their numbers."""


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


def largest_batch_of(run: RunConfig, session: Session, rows: Sequence[TokenRow]) -> tuple[RowSize, ...]:
    """What one device held at once, in rows."""
    most = session.most_tokens or run.batch.max_tokens
    return largest_batch(run_order(run, rows), max_tokens=most, padded=session.pads)


def speed(steps: list[StepRecord]) -> dict[str, float | None]:
    def rate(records: list[StepRecord]) -> float | None:
        seconds = sum(record.seconds for record in records)
        return sum(record.num_tokens for record in records) / seconds if seconds else None

    later = steps[FIRST_STEPS:]
    return {
        "tokens_per_second": rate(later or steps),
        "tokens_per_second_first": rate(steps[:FIRST_STEPS]) if later else None,
    }


def step_notes(run: RunConfig, steps: list[StepRecord]) -> list[str]:
    """What the steps' records say that a reader must know: steps that were skipped, memory that ran out."""
    notes = []
    if skipped := [record.step for record in steps if record.grad_norm is None]:
        which = ", ".join(map(str, skipped[:MOST_NAMED])) + (", ..." if len(skipped) > MOST_NAMED else "")
        rule = "their gradients overflowed at the loss scale, and nothing was trained on their examples"
        last = f"the scale was {steps[-1].loss_scale:g} at the end"
        notes.append(f"fp16: {len(skipped)} of {len(steps)} steps were skipped ({which}): {rule}; {last}")
    smaller: dict[int, int] = {}
    for record in steps:
        if record.max_tokens is not None:
            smaller.setdefault(record.max_tokens, record.step)
    if smaller:
        when = ", ".join(f"{most} from step {step}" for most, step in smaller.items())
        same = "the same gradients up to the order of sums"
        notes.append(f"memory ran out: micro-batches of at most {when}, not {run.batch.max_tokens} tokens; {same}")
    return notes
