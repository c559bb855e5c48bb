"""What a study will execute: its runs with parameter counts, from configurations alone. Reads no weights and no hub."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from tunelab.entries import RunEntry
from tunelab.errors import ConfigError
from tunelab.evaluation.unread import unread_notes
from tunelab.models.configurations import doubt
from tunelab.models.limits import generation_note, generation_problem, limit_problems
from tunelab.records import Limits, ParameterCount
from tunelab.stages import stage
from tunelab.study.counts import Counts
from tunelab.study.planning.engines import missing_packages
from tunelab.study.planning.plan import load_backend
from tunelab.study.planning.planned import BASE, Plan, Revisions
from tunelab.study.planning.run_config import unsupported
from tunelab.study.planning.runs import StudyRun, setting_text, study_runs
from tunelab.study.store import Store

Setting = tuple[tuple[str, str], ...]


class PlannedRun(NamedTuple):
    """One run. None: a learning rate that a search will choose, counts that cannot be known here."""

    method: str
    """The label: 'base', 'lora', 'lora r=4'."""
    task: str
    seed: int
    backend: str
    model: str
    learning_rate: float | None
    num_learning_rates_tried: int
    trainable_parameters: int | None
    total_parameters: int | None
    """Base + added."""
    reached_parameters: int | None
    """Of the base's: those that are trained, and the weights beside which adapters are trained."""
    reached_share: float | None
    """Of all parameters of the base, 0 to 1."""
    setting: dict[str, str] = {}
    """Searched fields beside the learning rate; empty while a search has not ended, and where there are none."""
    to_do: str | None = None
    """Where a results folder was looked at: 'train', 'keep', 'evaluate again'."""


class Preview(NamedTuple):
    study: str
    runs: tuple[PlannedRun, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """What `tunelab plan --json` prints."""
        runs = [run._asdict() for run in self.runs]
        for run in runs:
            if run["to_do"] is None:
                del run["to_do"]
        return {"study": self.study, "runs": runs, "notes": list(self.notes)}


def preview(plan: Plan, *, runs: Sequence[StudyRun] = (), to_do: Sequence[str] = ()) -> Preview:
    """The runs in the order in which they execute.

    Args:
        runs: the study's runs as they lie on disk; left out: as if nothing had been executed.
        to_do: what would be done about each of `runs`.

    Raises:
        ConfigError: every method that does not fit the model.
        ModelError: the model's folder is not there or not a model.
    """
    counted = count_parameters(plan)
    known = runs or study_runs(plan, Revisions(), Store(Path()), settled=lambda run_id: False)
    planned = tuple(
        PlannedRun(
            entry.method,
            entry.task,
            entry.seed,
            entry.backend,
            plan.study.model.name,
            entry.learning_rate,
            entry.num_tried,
            *_counts_of(counted, entry),
            dict(entry.setting),
            what,
        )
        for (entry, *_), what in zip_longest(known, to_do)
    )
    return Preview(plan.study.name, planned, tuple(_notes(plan, counted)))


def _counts_of(counted: Counted, entry: RunEntry) -> tuple[int | None, int | None, int | None, float | None]:
    """Trained, total, reached, and its share of the base; what a search has still to choose is not known where its
    candidates differ in it."""
    base, of_method = counted.counts[entry.backend, BASE["label"]], counted.settings[entry.backend, entry.method]
    open_ones = list(dict.fromkeys(of_method.values()))
    count = of_method.get(entry.setting, open_ones[0] if len(open_ones) == 1 else None)
    if base is None or count is None:
        return None, None, None, None
    share = None if count.reached is None else count.reached / base.total
    return count.trainable, count.total, count.reached, share


class Counted(NamedTuple):
    counts: dict[tuple[str, str], ParameterCount | None]
    """By backend and label, of the first candidate."""
    settings: dict[tuple[str, str], dict[Setting, ParameterCount | None]]
    """The same of every candidate, by its searched fields as RunEntry.setting has them."""
    limits: tuple[Limits, ...]
    """Of the model as each back end has it, where its configuration is here."""


def count_parameters(plan: Plan) -> Counted:
    """This is also the check that every method fits the model and every engine is installed.

    Raises:
        ConfigError, ModelError: as `preview`.
    """
    counts: dict[tuple[str, str], ParameterCount | None] = {}
    settings: dict[tuple[str, str], dict[Setting, ParameterCount | None]] = {}
    limits: list[Limits] = []
    problems = [plan.read.problem(key, fault) for key, fault in missing_packages(plan.study.evaluation)]
    for name in plan.study.backends:
        backend = Counts(load_backend(name))
        with stage(f"counting parameters: {plan.study.model.name}"):
            counts[name, BASE["label"]] = backend.count(plan.study.model, None)
        settings[name, BASE["label"]] = {(): counts[name, BASE["label"]]}
        if (known := backend.limits(plan.study.model)) is not None:
            limits.append(known[0])
            found = limit_problems(known[0], max_length=plan.study.batch.max_length, num_tokens=known[1])
            problems += [
                plan.read.problem(key, fault) for key, fault in [*found, *_generation_problems(plan, known[0])]
            ]
        left_out = unsupported(plan, name)
        for index, planned in enumerate(plan.methods):
            if planned.label in left_out:
                continue
            try:
                several = {setting_text(each): each.method for each in reversed(planned.candidates)}
                with stage(f"counting parameters: {planned.label} ({index + 1} of {len(plan.methods)})"):
                    found = {text: backend.count(plan.study.model, method) for text, method in several.items()}
                settings[name, planned.label] = found
                counts[name, planned.label] = found[setting_text(planned.candidates[0])]
            except ConfigError as error:
                path = f"methods.{index}.{planned.name}"
                problems += [plan.read.problem(path, problem) for problem in error.problems]
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    return Counted(counts, settings, tuple(limits))


def _generation_problems(plan: Plan, limits: Limits) -> list[tuple[str, str]]:
    found = [generation_problem(limits, max_new_tokens=length) for length in _text_lengths(plan)]
    return [("generation.max_new_tokens", fault) for fault in found if fault is not None]


def _text_lengths(plan: Plan) -> list[int]:
    """The longest texts that tasks with metrics of texts ask for."""
    generating = [task for task in plan.tasks if any(metric.reads == "text" for metric in task.metrics.values())]
    return sorted({task.task.generation.max_new_tokens for task in generating})


def _generation_notes(plan: Plan, limits: tuple[Limits, ...]) -> list[str]:
    """Tasks whose longest prompts could not be answered."""
    notes = [
        generation_note(each, max_length=plan.study.batch.max_length, max_new_tokens=length)
        for length in _text_lengths(plan)
        for each in limits[:1]
    ]
    return [note for note in notes if note is not None]


@stage("checking that metrics read the tasks' script")
def _unread_notes(plan: Plan) -> list[str]:
    """Tasks whose metrics do not read their targets' script."""
    return [
        f"{task.name}, first test rows: {note}"
        for task in plan.tasks
        if any(metric.reads == "text" for metric in task.metrics.values())
        for note in unread_notes(task.metrics, task.task.known_references())
    ]


def _remarks(counts: dict[tuple[str, str], ParameterCount | None]) -> list[str]:
    """What methods say of themselves on this model, those that say the same together."""
    said: dict[str, dict[str, None]] = {}
    for (_, label), count in counts.items():
        for remark in () if count is None else count.remarks:
            said.setdefault(remark, {})[label] = None
    return [f"{', '.join(who)}: {remark}" for remark, who in said.items()]


def _search_notes(plan: Plan) -> list[str]:
    notes = []
    if any(len(method.candidates) > 1 for method in plan.methods):
        notes.append("What is searched is chosen on the first seed by validation loss; the other seeds wait for it")
    for method in plan.methods:
        if method.num_left_out:
            tried, whole = len(method.candidates), len(method.candidates) + method.num_left_out
            fields = " x ".join(method.searched)
            notes.append(
                f"{method.label}: {tried} of {whole} combinations of {fields} are tried (search.candidates: {tried}), "
                f"those whose values were used least so far; {method.num_left_out} are left out"
            )
    automatic = [method.label for method in plan.methods if method.is_auto]
    if automatic:
        notes.append(
            f"{', '.join(automatic)}: auto tries about a third, once and three times the documented learning rate; "
            "where the winner stands at an edge one more is tried beyond it: at most one more run a task"
        )
    return notes


def _notes(plan: Plan, counted: Counted) -> list[str]:
    notes, counts = plan.read.notes, counted.counts
    uncounted = list(dict.fromkeys(label for (_, label), count in counts.items() if count is None))
    if BASE["label"] not in uncounted and uncounted:
        notes.append(f"{', '.join(uncounted)}: parameters cannot be counted before the weights are loaded")
    if BASE["label"] in uncounted and (said := doubt(plan.study.model.name)):
        notes.append(f"WARNING: model '{plan.study.model.name}': {said} `tunelab run` asks the hub for it all the same")
    elif BASE["label"] in uncounted:
        notes.append(
            f"{plan.study.model.name}: its configuration is not on this machine, so parameters are not counted; "
            "the first `tunelab run` downloads it"
        )
    for name in plan.study.backends:
        if left_out := unsupported(plan, name):
            notes.append(f"{name} cannot train {', '.join(left_out)}: left out there")
    notes += _remarks(counts)
    notes += [*_generation_notes(plan, counted.limits), *_unread_notes(plan)]
    notes += _search_notes(plan)
    metrics = {name: metric for task in plan.tasks for name, metric in task.metrics.items()}
    missing = {name: metric.missing() for name, metric in metrics.items()}
    return notes + [f"{name} will be missing on this machine: {reason}" for name, reason in missing.items() if reason]
