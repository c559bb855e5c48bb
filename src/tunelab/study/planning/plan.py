"""From a checked study to a list of runs: the one place that turns names into objects. All errors at once."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter, ValidationError

from tunelab import catalogue
from tunelab.backend_contract import Backend
from tunelab.config.explain import explain, got
from tunelab.config.published import published_problems
from tunelab.config.read import ReadStudy
from tunelab.config.run import RunConfig
from tunelab.config.schema import Generation, LearningRate, MethodEntry
from tunelab.contracts import Method, Metric
from tunelab.errors import ConfigError, DataError
from tunelab.files import file_key, name_problem
from tunelab.models.config_file import told
from tunelab.near import did_you_mean
from tunelab.stages import stage
from tunelab.study.planning.deciding import decision_problems
from tunelab.study.planning.engines import engine_problems
from tunelab.study.planning.frameworks import backend_problems, unknown_names
from tunelab.study.planning.labels import labels
from tunelab.study.planning.needs import missing_needs, with_needed
from tunelab.study.planning.option_paths import absolute_paths, names_of_paths
from tunelab.study.planning.planned import BASE, Plan, PlannedMethod, PlannedTask, RunParts
from tunelab.study.planning.search import AUTO, RUNGS, candidates_of, chosen, lists_of
from tunelab.tracker_contract import Tracker

NOT_HASHED = {"id", "precision", "threads", "ranks", "checkpoint", "generation", "evaluation"}
"""Recorded, but no part of a run's identity: an upgrade, other decoding or other devices lose nothing trained."""


def make_plan(read: ReadStudy) -> Plan:
    """Check every method and task of the study against its own fields.

    Raises:
        ConfigError: every problem, those of the study's own sections first.
    """
    problems = list(read.problems)
    problems += [read.problem(*each) for each in unknown_names(read.config)]
    methods, tasks = [], []
    for index, entry in enumerate(read.config.methods):
        with stage(f"checking methods: {next(iter(entry))}"):
            methods += _collect(problems, _method, read, index, *next(iter(entry.items())))
    for index, entry in enumerate(read.config.tasks):
        with stage(f"checking tasks, reading their data: {entry.get('name', index + 1)}"):
            tasks += _collect(problems, _task, read, index, entry)
    named = labels([(each.name, each.method, each.searched) for each in methods]) if not problems else []
    for kind, names in (("methods", named), ("tasks", [task.name for task in tasks])):
        keys = [file_key(name) if kind == "tasks" else name for name in names]
        for index, name in enumerate(names):
            if keys[index] in keys[:index]:
                first = read.where(f"{kind}.{keys.index(keys[index])}")
                fault = f"'{name}' stands there twice (first at {first}); delete one, or let them differ"
                problems.append(read.problem(f"{kind}.{index}", fault))
    planned = [method._replace(label=label) for method, label in zip(methods, named, strict=False)]
    problems += [read.problem(f"methods.{at}.{planned[at].name}", fault) for at, fault in missing_needs(planned)]
    if not problems:
        problems += [read.problem(*each) for each in backend_problems(read.config, planned, load_backend)]
    found = [*decision_problems(read.config.decision, tasks), *published_problems(read.config.published, named)]
    found += engine_problems(read.config.evaluation, planned, [task.task.generation for task in tasks])
    problems += [read.problem(*each) for each in found]
    if problems:
        raise ConfigError(*problems)
    planned = with_needed(planned)
    resolved = {
        "tasks": [{"name": task.name, **task.options} for task in tasks],
        "methods": [{method.name: method.options()} for method in planned],
    }
    return Plan(read.config.model_copy(update=resolved), tuple(planned), tuple(tasks), read)


def load_backend(name: str) -> Backend:
    return catalogue.load("backends", name)()


def tracker_of(name: str) -> type[Tracker]:
    """Raises ConfigError: no such tracker."""
    return catalogue.load("trackers", name)


def parts(run: RunConfig) -> RunParts:
    """The objects of one run, from its folder's run.json alone."""
    task = catalogue.load("tasks", _task_class(run.task, run.task_options))(**{"name": run.task, **run.task_options})
    method = method_of(run.method, [_described(parent.method) for parent in run.parents])
    return RunParts(load_backend(run.backend), task, {name: metric_of(name) for name in task.metrics}, method)


def build_method(name: str, options: dict[str, Any]) -> Method:
    """A method from its own options; those in its field `parts` are built too.

    Raises:
        ValidationError, ConfigError: unknown, or options that are not its own.
    """
    method = catalogue.load("methods", name)(**options)
    entries = getattr(method, "parts", ())
    return method.with_members([build_method(*next(iter(entry.items()))) for entry in entries])


def method_of(facts: dict[str, Any], parents: Sequence[Method] = ()) -> Method | None:
    """The method that run.json describes (name, label, its own fields); None for the base."""
    if facts["name"] == BASE["name"]:
        return None
    method = _described(facts)
    return method.with_members(parents) if parents else method


def _described(facts: dict[str, Any]) -> Method:
    return build_method(facts["name"], {key: value for key, value in facts.items() if key not in ("name", "label")})


def recognise(folder: Path) -> tuple[str, Method] | None:
    """The method, with its options, whose `save` wrote this folder; None: no method says so."""
    for name in catalogue.names("methods"):
        cls = catalogue.load("methods", name)
        with told(f"{folder}: what is saved there cannot be read as {name}'s"):
            options = cls.saved_options(folder)
            if options is not None:
                return name, cls(**options)
    return None


def identity(run: RunConfig, *, revisions: bool = True) -> str:
    """Hash of everything that can change the run's numbers; without `revisions`, of what the study file says."""
    facts = run.model_dump(mode="json", exclude=NOT_HASHED | run.unsaid)
    options = facts["task_options"]
    metrics, _ = options.pop("metrics", ()), options.pop("generation", None)
    facts["task_options"] = names_of_paths(catalogue.load("tasks", _task_class(run.task, options)), options)
    run.leave_out_younger(facts)
    facts["batch"]["max_tokens"] = 4096  # as before it could be left to the machine
    facts["model"]["name"] = run.model.name.rsplit("/", 1)[-1]
    facts["reads"] = sorted({metric_of(name).reads for name in metrics})  # a further metric is scored, not trained for
    if not revisions:
        facts.pop("model_revision")
        facts.pop("data_revision")
        facts["model"].pop("revision")
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


# ------------------------------------------------------------------ names into objects

Rates = tuple[float, ...] | Literal["auto"]


def _collect(problems: list[str], make: Any, read: ReadStudy, *arguments: Any) -> list[Any]:
    try:
        return [make(read, *arguments)]
    except (ConfigError, DataError) as error:
        problems += error.problems if isinstance(error, ConfigError) else [str(error)]
        return []


def _build(read: ReadStudy, path: str, cls: type[BaseModel], options: dict[str, Any]) -> Any:
    try:
        # Strict, so that `rank: true` is not 1; as JSON, because strictness then still takes a list for a tuple.
        return cls.model_validate_json(json.dumps(options, default=str), strict=True)
    except ValidationError as error:
        found = explain(error, given=options, model=cls)
        raise ConfigError(
            *(read.problem(".".join(map(str, (path, *problem.path))), problem.message) for problem in found)
        ) from None


def _method(read: ReadStudy, index: int, name: str, options: dict[str, Any]) -> PlannedMethod:
    """Still without its label, which the others decide too."""
    path = f"methods.{index}.{name}"
    cls = _method_class(read, path, name)
    rates = _rates(read, path, cls, options := dict(options))
    lists = _lists(read, path, cls, options)
    members = _parts(read, path, options) if "parts" in cls.model_fields else []
    if members:
        options["learning_rate"] = members[0].learning_rate
    options = absolute_paths(read, path, cls, {key: value for key, value in options.items() if key not in lists})

    def built(setting: Mapping[str, Any]) -> Method:
        given = {key: value for key, value in setting.items() if (key, value) != ("learning_rate", None)}
        return _build(read, path, cls, options | given).with_members(members)

    ladder = {"learning_rate": RUNGS if rates == AUTO else rates or (None,)}
    grid = chosen(ladder | lists, most=read.config.search.candidates if read.config.search else None)
    candidates = candidates_of(built, grid, auto=rates == AUTO)
    problems = dict.fromkeys(problem for each in candidates for problem in each.method.problems(read.config))
    if problems:
        raise ConfigError(*(read.problem(path, problem) for problem in problems))
    searched: dict[str, Any] = (
        {"learning_rate": rates if rates == AUTO else list(rates)} if rates == AUTO or len(rates) > 1 else {}
    )
    num_left_out = math.prod(map(len, (ladder | lists).values())) - len(candidates)
    return PlannedMethod(name, "", tuple(candidates), searched | lists, num_left_out)


def _lists(read: ReadStudy, path: str, cls: type[Method], options: dict[str, Any]) -> dict[str, list[Any]]:
    """Fields that are searched over, by their values; a list of one value becomes that value in `options`."""
    lists = lists_of(cls, options)
    problems = []
    for field, values in lists.items():
        if read.config.search is None:
            rule = f"is one value, got {got(values)}; give search: {{candidates: N}} at the top of the study, so that "
            problems.append((field, f"{rule}validation loss chooses one, or write an entry for each value"))
        elif not cls.trains:
            problems.append((field, f"it trains nothing, so nothing is searched; one value, got {got(values)}"))
        elif len({json.dumps(value, default=str) for value in values}) < len(values):
            problems.append((field, f"one value twice: {got(values)}"))
    if problems:
        raise ConfigError(*(read.problem(f"{path}.{field}", fault) for field, fault in problems))
    options |= {field: values[0] for field, values in lists.items() if len(values) == 1}
    several = {field: values for field, values in lists.items() if len(values) > 1}
    return {
        field: [absolute_paths(read, path, cls, {field: value})[field] for value in values]
        for field, values in several.items()
    }


def _method_class(read: ReadStudy, path: str, name: str) -> type[Method]:
    try:
        return catalogue.load("methods", name)
    except ConfigError as error:
        raise ConfigError(*(read.problem(path, problem) for problem in error.problems)) from None


def _parts(read: ReadStudy, path: str, options: dict[str, Any]) -> list[Method]:
    """The methods in the field `parts`, whose entries are filled up with every default; [] where it is no list of
    methods at all, which the method itself will say."""
    try:
        entries = TypeAdapter(list[MethodEntry]).validate_python(options.get("parts"))
    except ValidationError:
        return []
    problems: list[str] = []
    parts = [
        part
        for index, entry in enumerate(entries)
        for part in _collect(problems, _part, read, f"{path}.parts.{index}", *next(iter(entry.items())))
    ]
    if problems:
        raise ConfigError(*problems)
    options["parts"] = [{name: part.model_dump(mode="json")} for name, part in parts]
    return [part for _, part in parts]


def _part(read: ReadStudy, path: str, name: str, options: dict[str, Any]) -> tuple[str, Method]:
    path = f"{path}.{name}"
    cls = _method_class(read, path, name)
    if not cls.trains or "parts" in cls.model_fields:
        raise ConfigError(read.problem(path, "cannot be a part of a method: it is made of others itself"))
    rates = _rates(read, path, cls, options := dict(options))
    if rates == AUTO or len(rates) > 1:
        searched = "auto" if rates == AUTO else f"the search over {got(list(rates))}"
        rule = f"a part has one learning rate; {searched} belongs to the whole method"
        raise ConfigError(read.problem(f"{path}.learning_rate", rule))
    if lists := lists_of(cls, options):
        rule = "a part has one value of each field; an entry of its own for each other value is the way out"
        raise ConfigError(*(read.problem(f"{path}.{field}", f"{rule}; got {got(lists[field])}") for field in lists))
    options |= {"learning_rate": rates[0]} if rates else {}
    return name, _build(read, path, cls, absolute_paths(read, path, cls, options))


def _rates(read: ReadStudy, path: str, cls: type[Method], options: dict[str, Any]) -> Rates:
    """Taken out of `options`; null is what a resolved study says of a method that trains nothing."""
    if "learning_rate" not in options or (options["learning_rate"] is None and not cls.trains):
        return ()
    if not cls.trains:
        rule = "it trains nothing, its runs were trained at rates of their own; leave it out"
        raise ConfigError(read.problem(f"{path}.learning_rate", rule))
    given = options.pop("learning_rate")
    if given == AUTO:
        return AUTO
    values = given if isinstance(given, list) else [given]
    try:
        rates = TypeAdapter(list[LearningRate]).validate_python(values, strict=True)
    except ValidationError:
        rule = f"must be a finite number above 0, or a list of them or auto to search; got {got(given)}"
        raise ConfigError(read.problem(f"{path}.learning_rate", rule)) from None
    if not rates or len(set(rates)) < len(rates):
        rule = f"an empty list, or one rate twice: {got(given)}"
        raise ConfigError(read.problem(f"{path}.learning_rate", rule))
    return tuple(float(rate) for rate in rates)


def _task(read: ReadStudy, index: int, entry: dict[str, Any]) -> PlannedTask:
    path = f"tasks.{index}"
    name, rule = entry.get("name"), "a task needs a name: one of `tunelab list tasks`, or your own with train"
    if fault := name_problem(name) if isinstance(name, str) else rule:
        raise ConfigError(read.problem(path, fault))
    entry = dict(entry)
    try:
        cls = catalogue.load("tasks", _task_class(entry["name"], entry))
    except ConfigError as error:
        hint = "; for your own data give it train: FILE"
        raise ConfigError(*(read.problem(f"{path}.name", problem + hint) for problem in error.problems)) from None
    task = _build(read, path, cls, absolute_paths(read, path, cls, entry))
    settings = task.generation.model_dump() | _explicit_generation(read, entry)
    task = task.model_copy(update={"generation": _build(read, f"{path}.generation", Generation, settings)})
    metrics = {}
    for position, name in enumerate(task.metrics):
        try:
            metrics[name] = metric_of(name)
        except ConfigError as error:
            raise ConfigError(*(read.problem(f"{path}.metrics.{position}", text) for text in error.problems)) from None
    if problems := task.problems():
        raise ConfigError(*(read.problem(path, problem) for problem in problems))
    return PlannedTask(task.name, task.model_dump(mode="json", exclude={"name"}), task, metrics)


def _task_class(name: str, options: dict[str, Any]) -> str:
    """A file of that name, else the user's own files."""
    return "files" if name not in catalogue.names("tasks") and "train" in options else name


def _explicit_generation(read: ReadStudy, entry: dict[str, Any]) -> dict[str, Any]:
    """What the study says of generation: a task's own entry over the study's section, each over the task's default."""
    own = entry.get("generation")
    return read.config.generation.model_dump(exclude_unset=True) | (own if isinstance(own, dict) else {})


def metric_of(name: str) -> Metric:
    """The metric of that name, a variant after a colon. Raises ConfigError: unknown, with the nearest name."""
    public, _, variant = name.partition(":")
    if variant in (cls := catalogue.load("metrics", public)).variants:
        return cls(variant)
    known = ", ".join(filter(None, cls.variants)) or "none"
    hint = did_you_mean(variant, cls.variants)
    raise ConfigError(f"metric {public!r} has no variant {variant!r}.{hint} It has {known}")
