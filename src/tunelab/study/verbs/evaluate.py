"""Scores a saved or base model on a task and leaves the records of a run, without training."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunelab.config.read import read_study
from tunelab.config.run import RunConfig
from tunelab.config.study_yaml import dump_yaml
from tunelab.errors import ConfigError
from tunelab.evaluation.evaluate import score
from tunelab.near import did_you_mean
from tunelab.records import RunResult
from tunelab.study.executing.harness import harness_results
from tunelab.study.executing.outcome import scored_result
from tunelab.study.executing.predict import Progress, open_log, predictions
from tunelab.study.executing.prepare import prepare
from tunelab.study.executing.provenance import provenance
from tunelab.study.executing.saved import Saved, find_saved, open_saved
from tunelab.study.executing.verified import verified_rows
from tunelab.study.planning.bundled import names as bundled_names
from tunelab.study.planning.bundled import study_path
from tunelab.study.planning.engines import missing_packages
from tunelab.study.planning.plan import load_backend, make_plan
from tunelab.study.planning.planned import Plan, Revisions, RunParts
from tunelab.study.planning.run_config import base_run
from tunelab.study.store import RunFolder
from tunelab.study.verbs.listing import listing
from tunelab.training.energy.machine import own_energy
from tunelab.training.telemetry import Meter

SETTINGS = {"batch", "data", "precision", "threads"}
"""What an evaluation takes over from the run whose model it scores."""


def evaluate(
    model: str,
    *,
    tasks: Sequence[str] = (),
    overrides: Sequence[str] = (),
    out: Path | None = None,
    progress: Progress = lambda event: None,
) -> list[RunResult]:
    """Score a run, an adapter, a model folder or a base model on each task.

    Args:
        tasks: names of tasks, or STUDY:TASK for those of a study's; none: the task that the run was trained on.
        overrides: `--set` texts; the task is `tasks.0`.
        out: where run.json, predictions.jsonl and result.json go; of several tasks in a folder each, by its name.

    Raises:
        ConfigError, DataError, ModelError: nothing is written then of the task, and every task is planned first.
    """
    saved = find_saved(model)
    plans = _plans(saved, tasks, overrides)
    planned = [_run(saved, plan) for plan in plans]
    folders = _folders(out, [run.task for run, _ in planned])
    if out is None and any(run.evaluation.harness for run, _ in planned):
        raise ConfigError("evaluation.harness: where do its results go? Give --out DIR")
    for (run, _), folder in zip(planned, folders, strict=True):
        if folder is not None:
            _refuse_other(folder, run)
    results = []
    for (run, task_parts), folder in zip(planned, folders, strict=True):
        note = f"evaluated from {model}, nothing was trained"
        results.append(_evaluate(saved, run, task_parts, progress, folder=folder, note=note))
    return results


def planned_evaluations(model: str, *, tasks: Sequence[str], overrides: Sequence[str], out: Path) -> list[Plan]:
    """What `evaluate` would do, a plan with one task each, checked without loading anything.

    Raises:
        ConfigError, DataError, ModelError: as `evaluate`.
    """
    saved = find_saved(model)
    plans = _plans(saved, tasks, overrides, more=_resources(saved))
    _folders(out, [plan.tasks[0].name for plan in plans])
    return plans


def _plans(
    saved: Saved, tasks: Sequence[str], overrides: Sequence[str], *, more: dict[str, Any] | None = None
) -> list[Plan]:
    plans = [_plan(saved, task, overrides, more or {}) for task in (tasks or (None,))]
    if missing := dict.fromkeys(
        f"{key}: {fault}" for plan in plans for key, fault in missing_packages(plan.study.evaluation)
    ):
        raise ConfigError(*missing)
    return plans


def _evaluate(
    saved: Saved, run: RunConfig, task_parts: RunParts, progress: Progress, *, folder: RunFolder | None, note: str
) -> RunResult:
    meter = Meter(
        task_parts.backend.memory(), energy=own_energy(num_gpus=min(task_parts.backend.num_gpus(), 1)),
        on_phase=lambda name: progress({"event": "phase", "phase": name}),
    )  # fmt: skip
    with meter.phase("load"):
        opened = open_saved(saved, run)
        loaded_gib = meter.memory.current_gib()
    with meter.phase("prepare"):
        data = prepare(task_parts.task, opened.text, run, training=False)
        opened.session.verify(verified_rows(data.test_rows))
        log = None if folder is None else open_log(folder.texts, run, data, weights=saved.folder)
    with meter.phase("evaluate"):
        found = predictions(opened.session, opened.text, data, run, task_parts, progress, log=log)
        scored = score(found, task_parts.metrics)
    harness = None
    if run.evaluation.harness:
        with meter.phase("harness"):
            harness = harness_results(opened.session, opened.text, run)
    result = scored_result(
        run,
        opened.session,
        dict(scored.scores),
        meter,
        loaded_gib=loaded_gib,
        notes=[note, *opened.notes, *data.notes],
        where=provenance(run, device=task_parts.backend.device()),
    )
    if folder is not None:
        folder.write_run(run, result.provenance.model_dump(mode="json"))
        folder.write_predictions(list(scored.predictions))
        if harness is not None:
            folder.write_harness(harness)
        folder.write_result(result)
        folder.texts.unlink()
    return result


def _folders(out: Path | None, tasks: Sequence[str]) -> list[RunFolder | None]:
    if out is None:
        return [None] * len(tasks)
    if len(set(tasks)) < len(tasks):
        twice = next(task for task in tasks if tasks.count(task) > 1)
        raise ConfigError(f"--task {twice}: stands there twice, and both would be written to {out / twice}; give one")
    return [_checked(out / task if len(tasks) > 1 else out) for task in tasks]


def _plan(saved: Saved, task: str | None, overrides: Sequence[str], more: dict[str, Any]) -> Plan:
    """A plan with the one task to score on. `more`: settings that are not of the run whose model it is."""
    if task is None and saved.run is None:
        raise ConfigError("which task? Give --task TASK (see `tunelab list tasks`) or --task STUDY.yaml:TASK")
    own = saved.run if saved.run is not None and task in (None, saved.run.task) else None
    study, _, name = (task or "").rpartition(":")
    if not study and _is_study(task or ""):
        study, name = task or "", ""
    if study and own is None:
        return _plan_of_study(saved, study, name, overrides)
    settings = {} if saved.run is None else saved.run.model_dump(mode="json", include=SETTINGS)
    entry: dict[str, Any] = {"name": task}
    if own is not None:
        entry = {"name": own.task, **own.task_options}
        entry.pop("generation")  # as the study's section, where `--set generation.beams=4` reaches it
        settings["generation"] = own.generation.model_dump(mode="json")
    study = {"model": saved.source.model_dump(mode="json"), "tasks": [entry], "methods": ["full"], **settings, **more}
    try:
        return make_plan(read_study(text=dump_yaml(study), overrides=overrides))
    except ConfigError as error:
        raise ConfigError(*(re.sub(r"^study text:\d+: ", "", problem) for problem in error.problems)) from None


def _resources(saved: Saved) -> dict[str, Any]:
    """Of a job that evaluates: those of the run's study, where it still stands there and can be read."""
    file = None if saved.run_folder is None else RunFolder(saved.run_folder).study_folder / "study.yaml"
    if file is None or not file.exists():
        return {}
    return {"launch": {"slurm": read_study(file).config.launch.slurm.model_dump(mode="json", exclude_defaults=True)}}


def _is_study(task: str) -> bool:
    """A study file, or the name of a bundled study that is no task's."""
    if Path(task).suffix.lower() in (".yaml", ".yml"):
        return True
    return task in bundled_names() and task not in listing("tasks")


def _plan_of_study(saved: Saved, study: str, name: str, overrides: Sequence[str]) -> Plan:
    """Without a name the study's only task."""
    if not Path(study).is_file() and study not in bundled_names():
        given = f"{study}:{name}" if name else study
        raise ConfigError(f"--task {given}: '{study}' is neither a study file nor a bundled study")
    plan = make_plan(read_study(study_path(study), overrides=overrides))
    if not name and len(plan.tasks) > 1:
        ways = " or ".join(f"--task {study}:{task.name}" for task in plan.tasks)
        raise ConfigError(f"--task {study}: is a study of {len(plan.tasks)} tasks; name one of them: {ways}")
    chosen = plan.tasks if not name else tuple(task for task in plan.tasks if task.name == name)
    if not chosen:
        known = [task.name for task in plan.tasks]
        raise ConfigError(f"{study} has no task {name!r}.{did_you_mean(name, known)} Tasks: {', '.join(known)}")
    return plan._replace(study=plan.study.model_copy(update={"model": saved.source}), tasks=chosen)


def _run(saved: Saved, plan: Plan) -> tuple[RunConfig, RunParts]:
    task, name = plan.tasks[0], saved.run.backend if saved.run else plan.study.backends[0]
    backend = load_backend(name)
    threads = None if plan.study.threads == "auto" else plan.study.threads
    precision, threads = backend.resolve(precision=plan.study.precision, threads=threads)
    revision = backend.locate(plan.study.model).revision
    prints = {task.name: task.task.fingerprint()}
    revisions = Revisions(revision, prints, precision, threads, backend.max_tokens())
    run = base_run(plan, task, name, revisions)
    seed = saved.run.seed if saved.run else run.seed
    identity = f"{saved.facts['label']}--{task.name}--seed{seed}--evaluated".replace(" ", "-")
    parents = saved.run.parents if saved.run else ()
    run = run.model_copy(update={"id": identity, "method": saved.facts, "parents": parents, "seed": seed})
    return run, RunParts(backend, task.task, task.metrics, saved.method)


def _refuse_other(folder: RunFolder, run: RunConfig) -> None:
    """An evaluation that is there is replaced by the same one alone."""
    if (folder.path / "run.json").exists():
        earlier, now = (each.model_dump(mode="json", exclude={"threads"}) for each in (folder.read_run(), run))
        other = [name for name in now if earlier[name] != now[name]]
        if other:
            what = (
                f"{earlier['method']['label']} on {earlier['task']}" if {"method", "task"} & set(other) else "a model"
            )
            raise ConfigError(
                f"--out {folder.path}: holds the evaluation of {what} with other settings of "
                f"{', '.join(other)}; choose another folder"
            )


def _checked(out: Path) -> RunFolder:
    """Records of a study are never overwritten by an evaluation."""
    if out.absolute().parent.name == "runs" or (out / "study.yaml").exists():
        raise ConfigError(f"--out {out}: belongs to a study's results; choose another folder")
    return RunFolder(out)
