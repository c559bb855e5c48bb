"""`tunelab run`: executes every unfinished run of a plan and writes the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import yaml

from tunelab.config.read import dump
from tunelab.config.run import RunConfig
from tunelab.contracts import Metric
from tunelab.entries import BASE, Deciding, StudyRuns
from tunelab.evaluation.evaluate import score
from tunelab.files import write_atomically
from tunelab.launch.executor import Executor, visible_gpus
from tunelab.records import Score
from tunelab.report.frame import Comparison
from tunelab.report.write import write_report
from tunelab.study.planning.needs import unfinished_parents
from tunelab.study.planning.plan import load_backend
from tunelab.study.planning.planned import Plan, Revisions
from tunelab.study.planning.rehearse import REHEARSED, rehearsed
from tunelab.study.planning.runs import StudyRun, runs_on_disk, study_runs
from tunelab.study.store import RunFolder, Store


class View(Protocol):
    """Shows what goes on; see launch/view.py."""

    def planned(self, runs: list[StudyRun], store: Store) -> None:
        """The runs as known now; called again when a search has chosen a learning rate."""

    def event(self, run: RunConfig, event: dict[str, Any]) -> None: ...

    def told(self, text: str) -> None:
        """A line about the study as a whole."""


class Outcome(NamedTuple):
    comparison: Comparison
    folder: Path
    num_failed: int
    rehearsed: tuple[str, ...] = ()
    """What stood in for what; empty: this was the study itself."""


def run_study(plan: Plan, *, out: Path, cluster: str | None, view: View) -> Outcome:
    """Execute what is not finished, evaluate, report. Failed runs are named in the report and tried again next time; a
    candidate of a search that diverged is its outcome, and is not.

    Raises:
        ModelError, DataError: before anything is trained.
    """
    store = Store(out)
    plan, revisions = settle(plan, store)
    write_atomically(store.study_file, dump(plan.study))
    attempted: set[str] = set()

    def settled(run_id: str) -> bool:
        return store.run(run_id).finished or run_id in attempted

    launch = plan.study.launch.model_copy(update={"cluster": cluster} if cluster else {})
    gpus = visible_gpus(load_backend(plan.study.backends[0]).num_gpus())
    with Executor(launch, events=view.event, gpus=gpus) as executor, _stopping(executor, view):
        while True:
            runs = study_runs(plan, revisions, store, settled=settled)
            if any([store.run(each.run.id).reopen(each.run) for each in runs if each.run]):  # all, not the first only
                continue
            view.planned(runs, store)
            over = {each.run.id for each in runs if each.run and (each.diverged or settled(each.run.id))}
            known = [each.run for each in runs if each.run and each.run.id not in over]
            ready = [run for run in known if all(parent.id in over for parent in run.parents)]
            orphans = [run for run in ready if unfinished_parents(run, store)]
            for run in orphans:
                _fail(run, store, view)
            attempted |= {run.id for run in orphans}
            waiting = [run for run in ready if run not in orphans and run.id not in executor.running]
            for run in waiting[: executor.num_free]:
                folder = store.run(run.id)
                folder.ensure_run(run)
                executor.start(run, folder)
            if not executor.running:
                break
            attempted |= executor.wait()
    for task in plan.tasks:
        folders = [store.run(known.run.id) for known in runs if known.run is not None and known.run.task == task.name]
        score_alike(folders, {name: metric for name, metric in task.metrics.items() if metric.reads != "general"})
        score_beside_base(folders, {name: metric for name, metric in task.metrics.items() if metric.reads == "general"})
    comparison = write_study_report(plan, store)
    failed = sum(1 for each in runs if each.run and not (each.is_outcome or store.run(each.run.id).finished))
    return Outcome(comparison, out, failed, rehearsed(out))


@contextmanager
def _stopping(executor: Executor, view: View) -> Iterator[None]:
    """Ctrl-C lets the runs that are being executed write their checkpoints."""
    try:
        yield
    except KeyboardInterrupt:
        if executor.running:
            view.told("Stopping: what runs writes its checkpoint. Ctrl-C again ends it at once.")
            executor.stop()
        raise


def _fail(run: RunConfig, store: Store, view: View) -> None:
    """Name as failed a run that is made of others, because one of those has failed."""
    folder = store.run(run.id)
    folder.ensure_run(run)
    failed = unfinished_parents(run, store)
    error = f"{', '.join(failed)} failed, which this run is made of: it is made when `tunelab run` has finished them"
    folder.write_failure(error)
    view.event(run, {"event": "failed", "error": error})


def settle(plan: Plan, store: Store) -> tuple[Plan, Revisions]:
    """Fix what only this machine knows, before the first run: model and data revisions, precision, threads.

    Precision and threads of an earlier start of the same study stay, so that resuming changes no number.
    """
    study = plan.study
    earlier = yaml.safe_load(store.study_file.read_text()) if store.study_file.exists() else {}

    def kept(name: str) -> Any:
        mine = getattr(study, name)
        return earlier.get(name, mine) if mine == "auto" else mine

    backend = load_backend(study.backends[0])
    threads = kept("threads")
    precision, threads = backend.resolve(
        precision=kept("precision"), threads=None if threads == "auto" else int(threads)
    )
    located = backend.locate(study.model)
    pinned = study.model if located.revision.startswith("sha256:") else {"revision": located.revision}
    model = study.model.model_copy(update=pinned) if isinstance(pinned, dict) else pinned
    study = study.model_copy(update={"precision": precision, "threads": threads, "model": model})
    fingerprints = {task.name: task.task.fingerprint() for task in plan.tasks}
    return plan._replace(study=study), Revisions(located.revision, fingerprints, precision, threads)


def score_alike(folders: Sequence[RunFolder], metrics: Mapping[str, Metric]) -> None:
    """Score finished runs of one task by metrics that were named later, or could not be computed then, and anew by
    those that were not computed in one way for all (another library's version), from their stored text and losses,
    without a model."""
    results = [(folder, result) for folder in folders if (result := folder.read_result()) is not None]
    for name, metric in metrics.items():
        found = [result.scores.get(name) for _, result in results]
        computed = {given.signature for given in found if given is not None and not given.missing}
        for (folder, _), given in zip(results, found, strict=True):
            if given is None or given.missing or len(computed) > 1:
                scored = score(folder.read_predictions(), {name: metric})
                folder.write_predictions(list(scored.predictions))
                _add_scores(folder, scored.scores)


def score_beside_base(folders: Sequence[RunFolder], metrics: Mapping[str, Metric]) -> None:
    """Score finished runs of one task by metrics of the general text, each beside the base's losses on it."""
    finished = [folder for folder in folders if metrics and folder.finished]
    labels = {folder: folder.read_run().method["label"] for folder in finished}
    base = next((folder.read_general() for folder in finished if labels[folder] == BASE), [])
    losses = {prediction.id: prediction.loss_sum for prediction in base}
    for folder in finished:
        beside = [row.model_copy(update={"base_loss_sum": losses.get(row.id)}) for row in folder.read_general()]
        scored = score(beside, metrics)
        folder.write_general(list(scored.predictions))
        _add_scores(folder, scored.scores)


def _add_scores(folder: RunFolder, scores: Mapping[str, Score]) -> None:
    """To the result of a finished run; what was scored already is replaced."""
    result = folder.read_result()
    assert result is not None, f"{folder.path} has not finished"
    folder.write_result(result.model_copy(update={"scores": {**result.scores, **scores}}))


def write_study_report(plan: Plan, store: Store) -> Comparison:
    """Rebuild the report of the present study.yaml from records."""
    entries = runs_to_report(plan, store)
    metrics = {name: metric for task in plan.tasks for name, metric in task.metrics.items()}
    said = rehearsed(store.folder)
    facts = config_facts(plan) | ({"stand-ins": "; ".join(said)} if said else {})
    warning = REHEARSED if said else ""
    return write_report(entries, metrics=metrics, folder=store.folder, config_facts=facts, warning=warning)


def runs_to_report(plan: Plan, store: Store, *, name: str | None = None) -> StudyRuns:
    """The runs of a study on disk, with the study's rule of what to keep."""
    asked = plan.study.decision
    number = asked.margin if isinstance(asked.margin, float) else None
    deciding = Deciding(asked.metric, asked.share, number, asked.cost, asked.price_per_hour)
    runs, looks = tuple(runs_on_disk(plan, store)), store.read_looks().looks
    return StudyRuns(name or plan.study.name, store.folder, runs, deciding, looks)


def config_facts(plan: Plan) -> dict[str, Any]:
    """What the report prints of the study."""
    study = plan.study
    return {
        "model": study.model.name,
        "tasks": [task.name for task in plan.tasks],
        "seeds": list(study.seeds),
        "budget": study.budget.model_dump(exclude_none=True),
        "batch": study.batch.model_dump(),
        "precision": study.precision,
        "threads": study.threads,
        "runs at a time": study.launch.workers,
        "optimizer": study.optimizer.model_dump(),
        "schedule": study.schedule.model_dump(),
        "decision": study.decision.model_dump(exclude_none=True),
    }
