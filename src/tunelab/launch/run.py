"""`tunelab run`: executes every unfinished run of a plan, here or as jobs of a cluster, and writes the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tunelab.config.launch import Launch, Slurm
from tunelab.config.read import dump
from tunelab.entries import Deciding, StudyRuns
from tunelab.errors import ConfigError
from tunelab.files import write_atomically
from tunelab.launch.control.aside import put_aside_damaged, sweep_finished, unreadable_text
from tunelab.launch.control.to_do import to_do
from tunelab.launch.executor import Executor, visible_gpus
from tunelab.launch.rounds import next_runs
from tunelab.launch.scoring import score_all
from tunelab.launch.tracking.beside import mirrored, tracked_facts
from tunelab.launch.view import View
from tunelab.launch.waves import Jobs, Submission, launch_of, refuse_live
from tunelab.report.frame import Comparison
from tunelab.slurm import queue
from tunelab.stages import stage
from tunelab.study.foresight.finished import write_forecasts
from tunelab.study.foresight.published import published_lines
from tunelab.study.planning.plan import load_backend
from tunelab.study.planning.planned import Plan, Revisions
from tunelab.study.planning.rehearse import REHEARSED, rehearsed
from tunelab.study.planning.runs import StudyRun, runs_on_disk, study_runs
from tunelab.study.store import Store


class Outcome(NamedTuple):
    comparison: Comparison
    folder: Path
    num_failed: int
    rehearsed: tuple[str, ...] = ()
    """What stood in for what; empty: this was the study itself."""
    jobs: Jobs | None = None
    """Of a cluster: what was submitted; the comparison is that of what has finished."""


def run_study(
    plan: Plan,
    *,
    out: Path,
    cluster: str | None,
    view: View,
    arguments: Sequence[str] = (),
    first: bool = True,
) -> Outcome:
    """Execute what is not finished, evaluate, report. Failed runs are named in the report and tried again next time; a
    candidate of a search that diverged is its outcome, and is not.

    Args:
        arguments: of a cluster: what the command has said beside the study, for the jobs that continue it.
        first: say what will be done; left out where this call goes on with what it has said.

    Raises:
        ModelError, DataError: before anything is trained.
        ConfigError, RunBusy, Unreachable: of a cluster (waves.py).
    """
    launch = launch_of(plan, cluster)
    refuse_missing(plan)
    store = Store(out)
    submission = None
    if launch.cluster == "slurm":
        submission = Submission(launch, study=plan.study.name, store=store, arguments=arguments)
    elif queue.is_here():
        refuse_live(store)  # what jobs still execute would look as if it had failed here
    for line in put_aside_damaged(store):
        view.told(line)
    sweep_finished(store)
    if store.study_file.exists() and not store.resolved():
        view.told(f"{store.study_file}: damaged; it is written anew")
    plan, revisions = settle(plan, store, slurm=launch.slurm if submission else None, view=view)
    if first:
        for line in to_do(plan, store, study_runs(plan, revisions, store, settled=lambda run_id: False)).lines:
            view.told(line)
        for line in published_lines(plan):
            view.told(line)
    write_atomically(store.study_file, dump(plan.study))
    with mirrored(plan.study, store.folder, lambda text: view.told(text)):
        if submission is None:
            with _partial_report(plan, store, view):
                runs, jobs = _execute(plan, revisions, store, launch, view), None
        else:
            runs, jobs = _submit(plan, revisions, store, submission, view)
        score_all(plan, store, runs)
    comparison = write_study_report(plan, store)
    if launch.cluster != "in-process" and jobs is None:  # in-process is there to look into a run, not to compare
        if write_forecasts([each.run for each in runs if each.run is not None], store, told=view.told):
            comparison = write_study_report(plan, store)
    failed = 0 if jobs else sum(1 for each in runs if each.run and not has_result(each, store))
    return Outcome(comparison, out, failed, rehearsed(out), jobs)


def refuse_missing(plan: Plan) -> None:
    """
    Raises:
        ConfigError: a back end that cannot execute runs on this machine.
    """
    names = plan.study.backends
    lacks = {index: load_backend(name).missing() for index, name in enumerate(names)}
    others = [name for index, name in enumerate(names) if not lacks[index]]
    way = f"; or without it: --set backends=[{','.join(others)}]" if others else ""
    if any(lacks.values()):
        problems = [plan.read.problem(f"backends.{index}", lack + way) for index, lack in lacks.items() if lack]
        raise ConfigError(*problems)


def refuse_other_study(plan: Plan, out: Path) -> None:
    """
    Raises:
        ConfigError: the folder holds the results of a study of another name.
    """
    theirs = Store(out).resolved().get("name")
    if theirs not in (None, plan.study.name):
        ways = f"--out OTHER writes beside it, --replace takes over its folder ({out / 'runs'} stays)"
        raise ConfigError(
            f"{out} holds the results of the study '{theirs}', and this one is '{plan.study.name}': {ways}"
        )


def has_result(each: StudyRun, store: Store) -> bool:
    return each.is_outcome or (each.run is not None and store.run(each.run.id).finished)


def _execute(plan: Plan, revisions: Revisions, store: Store, launch: Launch, view: View) -> list[StudyRun]:
    """On this machine, to the end."""
    attempted: set[str] = set()

    def settled(run_id: str) -> bool:
        return store.run(run_id).finished or run_id in attempted

    gpus = visible_gpus(load_backend(plan.study.backends[0]).num_gpus())
    with Executor(launch, events=view.event, gpus=gpus, told=view.told) as executor, _stopping(executor, view):
        while True:
            runs, waiting, orphans = next_runs(plan, revisions, store, settled=settled, view=view)
            attempted |= orphans
            waiting = [run for run in waiting if run.id not in executor.running]
            for run in waiting[: executor.num_free]:
                view.event(run, {"event": "starting"})
                executor.start(run, store.run(run.id))
            if not executor.running:
                return runs
            attempted |= executor.wait()


def _submit(
    plan: Plan, revisions: Revisions, store: Store, submission: Submission, view: View
) -> tuple[list[StudyRun], Jobs | None]:
    """One wave; None where nothing is left to run."""
    known = study_runs(plan, revisions, store, settled=submission.settled)
    submission.begin([each.run.id for each in known if each.run])
    while True:
        runs, waiting, orphans = next_runs(plan, revisions, store, settled=submission.settled, view=view)
        if waiting:
            return runs, submission.submit(waiting)
        if not orphans:
            return runs, None


@contextmanager
def _partial_report(plan: Plan, store: Store, view: View) -> Iterator[None]:
    """Ctrl-C leaves the report of what has finished until then; another one, while it is written, leaves that out."""
    try:
        yield
    except KeyboardInterrupt:
        written = write_study_report(plan, store)
        planned, done = (
            sum(number)
            for number in zip(*((row.num_seeds_planned, row.num_seeds) for row in written.rows), strict=True)
        )
        view.told(f"Report of the {done} of {planned} runs that have results: {store.folder / 'report.html'}")
        raise


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


@stage("looking up the model and the data")
def settle(plan: Plan, store: Store, *, slurm: Slurm | None = None, view: View | None = None) -> tuple[Plan, Revisions]:
    """Fix what only this machine knows, before the first run: model and data revisions, precision, threads.

    Precision and threads of an earlier start of the same study stay, so that resuming changes no number. Of jobs the
    threads are the cores that they ask for, and where they ask for GPUs that this machine has not, products are bf16.
    """
    study = plan.study
    earlier = store.resolved()

    def kept(name: str) -> Any:
        mine = getattr(study, name)
        return earlier.get(name, mine) if mine == "auto" else mine

    backends = [load_backend(name) for name in study.backends]
    backend = backends[0]
    threads, precision = kept("threads"), kept("precision")
    if slurm is not None and threads == "auto":
        threads = slurm.cpus or 1
    guessed = slurm if precision == "auto" and backend.num_gpus() == 0 else None
    if guessed is not None and guessed.asks_for_gpus:
        precision = "bf16"
    precision, threads = backend.resolve(precision=precision, threads=None if threads == "auto" else int(threads))
    if study.weights == "bf16" and precision == "fp32":  # asked for by name it is refused while planning
        precision = "bf16"
        if view is not None:
            view.told("precision: auto is bf16, as weights are; without bf16 in hardware this is slow.")
    narrow = [name for name, each in zip(study.backends, backends, strict=True) if precision not in each.precisions]
    if narrow:  # asked for by name it is refused while planning
        precision = "fp32"
    if narrow and len(backends) > 1 and view is not None:
        view.told(f"precision: auto is {precision} for all, as {', '.join(narrow)} has no other.")
    elif guessed is not None and view is not None:
        by = "the GPUs that the jobs ask for" if guessed.asks_for_gpus else "this machine's processor"
        view.told(f"precision: auto is {precision}, by {by}; set it where the nodes are others.")
    located = backend.locate(study.model)
    pinned = study.model if located.revision.startswith("sha256:") else {"revision": located.revision}
    model = study.model.model_copy(update=pinned) if isinstance(pinned, dict) else pinned
    tokens = study.batch.max_tokens
    if tokens == "auto":
        before = earlier.get("batch", {}).get("max_tokens", tokens)
        tokens = backend.max_tokens() if before == "auto" else int(before)
    batch = study.batch.model_copy(update={"max_tokens": tokens})
    study = study.model_copy(update={"precision": precision, "threads": threads, "model": model, "batch": batch})
    fingerprints = {task.name: task.task.fingerprint() for task in plan.tasks}
    return plan._replace(study=study), Revisions(located.revision, fingerprints, precision, threads)


@stage("writing the report")
def write_study_report(plan: Plan, store: Store) -> Comparison:
    """Rebuild the report of the present study.yaml from records."""
    from tunelab.report.write import write_report  # with what draws: only now

    entries = runs_to_report(plan, store)
    metrics = {name: metric for task in plan.tasks for name, metric in task.metrics.items()}
    said = rehearsed(store.folder)
    facts = config_facts(plan) | tracked_facts(store.folder, plan.study.track)
    facts |= {"stand-ins": "; ".join(said)} if said else {}
    warning = warning_of(store)
    return write_report(entries, metrics=metrics, folder=store.folder, config_facts=facts, warning=warning)


def warning_of(store: Store) -> str:
    """What stands above everything else of a report; empty: nothing."""
    return ". ".join(part for part in (REHEARSED if rehearsed(store.folder) else "", unreadable_text(store)) if part)


def runs_to_report(plan: Plan, store: Store, *, name: str | None = None) -> StudyRuns:
    """The runs of a study on disk, with the study's rule of what to keep."""
    asked = plan.study.decision
    number = asked.margin if isinstance(asked.margin, float) else None
    deciding = Deciding(asked.metric, asked.share, number, asked.cost, watts=asked.power_watts)
    if asked.price is not None:
        deciding = deciding._replace(price_per_hour=asked.price.per_hour, currency=asked.price.currency)
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
        **({"weights": study.weights} if study.weights != "fp32" else {}),
        "threads": study.threads,
        "runs at a time": study.launch.workers,
        "optimizer": study.optimizer.model_dump(),
        "schedule": study.schedule.model_dump(),
        "decision": study.decision.model_dump(exclude_none=True),
    }
