"""What makes two runs the same: every field of a run's configuration but for those that are named here."""

import json
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel

from tunelab.config.read import read_study
from tunelab.config.run import RunConfig
from tunelab.study.planning.plan import NOT_HASHED, identity, make_plan
from tunelab.study.planning.planned import Revisions
from tunelab.study.planning.run_config import cells, method_run

FREE = {"id", "precision", "threads", "ranks", "checkpoint", "generation", "evaluation"}
"""Fields that change nothing that is trained, or that an upgrade may choose otherwise."""
FREE_INSIDE = {"batch.max_tokens"}
"""Of sections: how a step is cut into micro-batches."""
OTHER = {
    "task": "headlines",
    "task_options": {"train_rows": 7},
    "method": {"name": "lora", "label": "lora", "rank": 3},
    "parents": ({"id": "full--x", "method": {"name": "full", "label": "full"}},),
    "model.revision": "v2",
    "model.tokens": ("<|call|>",),
    "optimizer.clip": None,
    "ranks": {"devices": 2},
    "checkpoint": {"seconds": 1.0},
    "generation": {"beams": 4},
    "evaluation": {"engine": "vllm"},
}
"""Another value of fields of which none is made by their type."""


@pytest.fixture(scope="module")
def run() -> RunConfig:
    made = make_plan(read_study(text="model: tunelab/tiny\ntasks: [restaurants]\nmethods: [full]\nbudget: {steps: 9}"))
    backend, task, method = next(iter(cells(made)))
    revisions = Revisions("m", {"restaurants": "d"}, "fp32", 1)
    return method_run(made, task, backend, revisions, method=method, seed=0, candidate=method.candidates[0])


def leaves(section: BaseModel, path: str = "") -> dict[str, Any]:
    """Every field by its path, and those of its section one by one where the section counts."""
    found = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        is_section = isinstance(value, BaseModel) and name not in FREE
        found |= leaves(value, f"{path}{name}.") if is_section else {f"{path}{name}": value}
    return found


def other(path: str, value: Any) -> Any:
    """Than the present value, of the same type."""
    *_, kind = kinds(path)
    if path in OTHER:
        return OTHER[path]
    if get_origin(kind) is Literal:
        return next(each for each in get_args(kind) if each != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if isinstance(value, int) else value / 2 + 0.1
    if isinstance(value, str):
        return f"{value}x"
    if isinstance(value, tuple):
        return tuple(each / 2 for each in value)
    assert value is None, f"{path}: give OTHER another value than {value!r}"
    return 5


def kinds(path: str) -> list[Any]:
    """Annotations of the sections on the way to a field, and of the field."""
    found: list[Any] = [RunConfig]
    for name in path.split("."):
        found.append(found[-1].model_fields[name].annotation)
    return found


def changed(run: RunConfig, path: str, value: Any) -> RunConfig:
    facts = json.loads(run.model_dump_json())
    *sections, name = path.split(".")
    place = facts
    for section in sections:
        place = place[section]
    place[name] = value
    return RunConfig.model_validate(facts)


def test_what_is_no_part_of_it_is_named_here():
    assert NOT_HASHED == FREE, "each exception lets an earlier run pass for one of other settings"


def test_every_field_changes_it_but_for_the_exceptions(run):
    """A field that is added is a part of it: old results under new settings would be worse than a run made again."""
    paths = leaves(run)
    assert {path.partition(".")[0] for path in paths} == set(RunConfig.model_fields)
    free, first = set(), identity(run)
    for path, value in paths.items():
        there = changed(run, path, other(path, value))
        assert leaves(there)[path] != value, f"{path} was not changed by this test"
        free |= {path} if identity(there) == first else set()
    assert free == FREE_INSIDE | FREE


@pytest.mark.parametrize(
    ("metrics", "same"), [(["bleu"], True), (["rouge_l", "chrf"], True), (["bleu", "perplexity"], False)]
)
def test_of_metrics_what_they_read_counts(run, metrics, same):
    """Texts alone, or token losses beside them: a further metric of texts is scored from those that are there."""
    text = changed(run, "task_options", {**run.task_options, "metrics": ["rouge_l"]})
    there = changed(run, "task_options", {**run.task_options, "metrics": metrics})
    assert (identity(there) == identity(text)) == same


def test_where_a_model_lies_is_no_part_of_it_and_its_content_is(run):
    first = changed(run, "model.name", "/here/base")
    assert identity(changed(run, "model.name", "/there/base")) == identity(first)
    assert identity(changed(run, "model_revision", "another")) != identity(first)


def test_by_the_study_file_alone_revisions_are_left_out_and_nothing_else(run):
    first = identity(run, revisions=False)
    there = {path: changed(run, path, other(path, value)) for path, value in leaves(run).items()}
    free = {path for path, each in there.items() if identity(each, revisions=False) == first}
    assert free == FREE_INSIDE | FREE | {"model_revision", "data_revision", "model.revision"}
