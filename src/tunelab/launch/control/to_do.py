"""What `tunelab run` will do with every run of a study, said before it does anything: train, evaluate again, keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from tunelab.config.run import RunConfig
from tunelab.entries import BASE, RunEntry
from tunelab.launch.scoring import outdated
from tunelab.study.executing.again import missing
from tunelab.study.planning.planned import Plan
from tunelab.study.planning.runs import StudyRun, study_runs_on_disk
from tunelab.study.record_files import evaluation_damage
from tunelab.study.store import RunFolder, Store
from tunelab.training.state import Checkpoints

What = Literal[
    "train", "evaluate", "go on", "try again", "evaluate again", "take back", "ask the harness", "keep", "wait",
    "outcome",
]  # fmt: skip
WORDS: dict[What, str] = {
    "train": "to train",
    "evaluate": "to evaluate, without training",
    "go on": "to go on with",
    "try again": "failed, to try again",
    "evaluate again": "to evaluate again",
    "take back": "to be given back an evaluation that was kept",
    "ask the harness": "to evaluate by the harness",
    "keep": "finished, kept as they are",
    "wait": "to train when others have finished",
    "outcome": "diverged, an outcome of the search",
}
MOST_NAMED = 3
"""Runs that a line names."""
OF_NO_EFFECT = ("precision", "threads", "ranks", "checkpoint")
"""Settings that are no part of a run's identity, and that change nothing of a finished one."""


class ToDo(NamedTuple):
    """Of one run."""

    entry: RunEntry
    what: What
    detail: str = ""
    """'at step 120'."""
    changed: tuple[str, ...] = ()
    """Settings of evaluation: 'generation.max_new_tokens 64, now 40'."""
    scored: tuple[str, ...] = ()
    """Metrics that are scored from what it has written."""
    ignored: tuple[str, ...] = ()
    """Settings of the study that a finished run does not follow: 'precision bf16, finished runs: fp32'."""

    @property
    def text(self) -> str:
        """For a column: 'go on at step 120', 'evaluate again', 'keep, score cider'."""
        what = f"{self.what} {self.detail}".rstrip()
        return f"{what}, score {', '.join(self.scored)}" if self.scored else what


class StudyToDo(NamedTuple):
    runs: tuple[ToDo, ...]
    leaving: tuple[str, ...]
    """Finished runs on disk that the study does not have any more, so that they leave its report."""

    @property
    def lines(self) -> list[str]:
        """For the terminal; one where everything is new."""
        lines = []
        for what, words in WORDS.items():
            own = [each for each in self.runs if each.what == what]
            if own:
                lines.append(f"{len(own)} {words}{_which(own)}")
        if all(each.what in ("train", "evaluate", "wait") for each in self.runs) and not self.leaving:
            return [f"{len(self.runs)} runs: {'; '.join(lines)}"]
        scored = {name: sum(name in each.scored for each in self.runs) for each in self.runs for name in each.scored}
        lines += [f"{name}: {number} scored from what they have written" for name, number in scored.items()]
        lines += dict.fromkeys(text for each in self.runs for text in each.ignored)
        if self.leaving:
            names = _some(list(self.leaving))
            lines.append(f"{len(self.leaving)} finished by other settings stay on disk and leave the report: {names}")
        return lines


def to_do(plan: Plan, store: Store, runs: Sequence[StudyRun]) -> StudyToDo:
    """Of runs that nobody executes now; nothing is written."""
    scored = _to_score(plan, store, runs)
    found = [_of(plan, each, store, scored.get(each.run.id, ()) if each.run else ()) for each in runs]
    known = {each.run.id for each in runs if each.run}
    others = [folder for folder in store.all_runs() if folder.has_result and folder.path.name not in known]
    leaving = [folder.path.name for folder in others if folder.damage() is None]
    return StudyToDo(tuple(found), tuple(leaving))


def to_do_on_disk(plan: Plan, store: Store) -> tuple[list[StudyRun], StudyToDo]:
    """The same for `--dry-run`, which asks neither model nor data: as far as study.yaml tells the runs."""
    runs = study_runs_on_disk(plan, store, settled=lambda run_id: False)
    return runs, to_do(plan, store, runs)


def _of(plan: Plan, each: StudyRun, store: Store, scored: tuple[str, ...]) -> ToDo:
    if each.run is None:
        return ToDo(each.entry, "wait")
    if each.is_outcome:
        return ToDo(each.entry, "outcome")
    folder = store.run(each.run.id)
    if folder.evaluations.interrupted:  # it has no result in place until the exchange is finished
        return ToDo(each.entry, "take back")
    if not folder.has_result or folder.damage() is not None:
        return _unfinished(each, folder)
    lacks, earlier = missing(folder, each.run), folder.read_run()
    damage = None if lacks == "kept evaluation" else evaluation_damage(folder.path)
    trains = each.entry.method != BASE
    if damage is not None and trains and not folder.model.is_dir():
        return ToDo(each.entry, "train", f"(damaged: {damage})")
    lacks = lacks if damage is None else "evaluation"
    changed = _differences(earlier, each.run, "generation", "evaluation") if lacks != "nothing" else ()
    machine = {name: getattr(plan.study, name) for name in ("precision", "threads")}
    asked = each.run.model_copy(
        update={name: getattr(earlier, name) if value == "auto" else value for name, value in machine.items()}
    )
    ignored = tuple(
        f"{text.replace(', now ', ' of finished runs stays: ')} is for runs that are still to be trained"
        for text in _differences(earlier, asked, *OF_NO_EFFECT)
    )
    if lacks == "evaluation":
        gone = "" if not trains or folder.model.is_dir() else "(fails: its saved model is gone)"
        return ToDo(each.entry, "evaluate again", gone, changed, (), ignored)
    if lacks == "kept evaluation":
        return ToDo(each.entry, "take back", "", changed, (), ignored)
    return ToDo(each.entry, "ask the harness" if lacks == "harness" else "keep", "", changed, scored, ignored)


def _unfinished(each: StudyRun, folder: RunFolder) -> ToDo:
    damage = folder.damage()
    if folder.failed:
        return ToDo(each.entry, "try again")
    if damage is not None:
        return ToDo(each.entry, "evaluate" if each.entry.method == BASE else "train", f"(damaged: {damage})")
    latest = Checkpoints(folder.checkpoint, seconds=0).latest()
    if latest is not None and latest[0].step:
        return ToDo(each.entry, "go on", f"at step {latest[0].step}")
    return ToDo(each.entry, "evaluate" if each.entry.method == BASE else "train")


def _differences(earlier: RunConfig, run: RunConfig, *sections: str) -> tuple[str, ...]:
    """'generation.max_new_tokens 64, now 40'."""
    before, now = (_flat(each.model_dump(mode="json", include=set(sections))) for each in (earlier, run))
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return tuple(
        f"{name.replace('ranks.', 'launch.')} {_shown(before.get(name))}, now {_shown(now.get(name))}" for name in names
    )


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else "none" if value is None else str(value)


def _which(own: Sequence[ToDo]) -> str:
    """What of them is worth a word."""
    changed = list(dict.fromkeys(text for each in own for text in each.changed))
    if own[0].what == "evaluate again":
        return f" ({'; '.join(changed)}): what is there stays until the new one is whole, and is kept"
    if changed:
        return f" ({'; '.join(changed)})"
    if own[0].what in ("go on", "try again"):
        return f": {_some([f'{_name(each.entry)} {each.detail}'.rstrip() for each in own])}"
    return ""


def _name(entry: RunEntry) -> str:
    return f"{entry.method} on {entry.task}, seed {entry.seed}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return "; ".join(names[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _to_score(plan: Plan, store: Store, runs: Sequence[StudyRun]) -> dict[str, tuple[str, ...]]:
    """Metrics by run id that will be scored from what finished runs have written."""
    found: dict[str, tuple[str, ...]] = {}
    for task in plan.tasks:
        folders = [store.run(each.run.id) for each in runs if each.run and each.run.task == task.name]
        folders = [folder for folder in folders if folder.damage() is None]
        done = [(folder, result) for folder in folders if (result := folder.read_result()) is not None]
        for name, metric in task.metrics.items():
            if metric.reads == "general" or metric.missing():
                continue
            for place in outdated([result.scores.get(name) for _, result in done]):
                run_id = done[place][0].path.name
                found[run_id] = (*found.get(run_id, ()), name)
    return found
