"""The configuration of one run, cut from a plan: what run.json holds and a worker executes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tunelab.config.launch import Ranks
from tunelab.config.run import ParentRun, RunBatch, RunConfig
from tunelab.config.schema import Weights
from tunelab.study.planning.frameworks import ranks_of, ranks_of_base
from tunelab.study.planning.plan import identity, load_backend
from tunelab.study.planning.planned import BASE, Candidate, Plan, PlannedMethod, PlannedTask, Revisions

LONGEST_ID = 200
"""Bytes of a run's id, which names its folder; labels may be longer."""


def base_run(plan: Plan, task: PlannedTask, backend: str, revisions: Revisions) -> RunConfig:
    """The untouched base model; greedy and beam decoding draw nothing, so one seed is enough; texts
    drawn at a temperature are those of the first seed."""
    ranks = ranks_of_base(plan.study)
    return _run(plan, task, backend, plan.study.seeds[0], dict(BASE), revisions, ranks=ranks, weights="fp32")


def method_run(
    plan: Plan,
    task: PlannedTask,
    backend: str,
    revisions: Revisions,
    *,
    method: PlannedMethod,
    seed: int,
    candidate: Candidate,
    parents: Sequence[RunConfig] = (),
) -> RunConfig:
    """The parents' ids are part of its identity, so that one that is trained otherwise gives another run."""
    made_of = tuple(ParentRun(id=parent.id, method=parent.method) for parent in parents)
    ranks = ranks_of(plan.study, candidate.method)
    weights = plan.study.weights if candidate.method.narrow_weights else "fp32"
    fields = method.fields(candidate)
    return _run(plan, task, backend, seed, fields, revisions, ranks=ranks, weights=weights, parents=made_of)


def cells(plan: Plan) -> Iterator[tuple[str, PlannedTask, PlannedMethod]]:
    """Every backend, task and method that go together."""
    for backend in plan.study.backends:
        left_out = unsupported(plan, backend)
        for task in plan.tasks:
            for method in plan.methods:
                if method.label not in left_out:
                    yield backend, task, method


def unsupported(plan: Plan, backend: str) -> list[str]:
    """Labels of methods that this back end cannot train, or that are made of runs which it cannot."""
    supports = load_backend(backend).supports
    alone = [method.label for method in plan.methods if not supports(method.name)]
    return [method.label for method in plan.methods if {method.label, *method.method.needs} & set(alone)]


def _run(
    plan: Plan,
    task: PlannedTask,
    backend: str,
    seed: int,
    method: dict[str, Any],
    revisions: Revisions,
    *,
    ranks: Ranks,
    weights: Weights,
    parents: tuple[ParentRun, ...] = (),
) -> RunConfig:
    study = plan.study
    sections = ("budget", "data", "activation_checkpointing", "optimizer", "schedule", "loss", "validation")
    batch = study.batch.model_dump()
    if batch["max_tokens"] == "auto":
        batch["max_tokens"] = revisions.max_tokens
    run = RunConfig(
        id="",
        backend=backend,
        task=task.name,
        task_options=task.options,
        seed=seed,
        method=method,
        parents=parents,
        model=study.model,
        model_revision=revisions.model,
        data_revision=revisions.tasks.get(task.name, ""),
        precision=revisions.precision,
        weights=weights,
        threads=revisions.threads,
        ranks=ranks,
        generation=task.task.generation,
        evaluation=study.evaluation,
        checkpoint=study.checkpoint,
        batch=RunBatch(**batch),
        **{name: getattr(study, name) for name in sections},
    )
    place = "" if backend == "torch" else f"--{backend}"
    end = f"--{_clean(task.name)}{place}--seed{seed}--{identity(run)[:8]}"
    label = _clean(method["label"]).encode()[: LONGEST_ID - len(end.encode())].decode(errors="ignore")
    return run.model_copy(update={"id": label + end})


def _clean(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-._=" else "-" for c in name)
