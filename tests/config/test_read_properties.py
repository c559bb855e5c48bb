"""Whatever stands in a study or behind `--set`: a study, or lines that say what is wrong; never another error."""

import copy

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from properties import SAME_EVERY_TIME, SCALARS, TREES
from tunelab.config.read import dump, read_study
from tunelab.errors import ConfigError

VALID = {
    "name": "small",
    "model": {"name": "tunelab/tiny"},
    "tasks": [{"name": "restaurants", "train_rows": 24, "metrics": ["rouge_l", "loss"]}],
    "methods": [{"full": {"learning_rate": 1e-3}}, {"lora": {"rank": 2, "learning_rate": [1e-3, 3e-3]}}],
    "seeds": [0, 1],
    "budget": {"steps": 2},
    "batch": {"examples": 4, "max_length": 64, "max_tokens": 256},
    "optimizer": {"weight_decay": 0.1},
    "schedule": {"kind": "cosine", "warmup": 0.1},
    "validation": {"every": 0.5},
    "generation": {"max_new_tokens": 4},
    "decision": {"price_per_hour": "2EUR/h"},
    "launch": {"workers": 2},
    "data": {"packing": False},
    "search": {"candidates": 3},
    "precision": "fp32",
    "threads": 1,
}
KEYS = st.sampled_from([
    *VALID, "methods.0", "methods.1.lora.rank", "tasks.0.name", "tasks.0", "tasks.9", "batch.examples", "seeds.0",
    "model.name", "launch.slurm.cpus", "evaluation.harness", "checkpoint.seconds", "", ".", "a..b", "methods.x",
])  # fmt: skip


def said(error: ConfigError) -> None:
    """Every problem is a line."""
    assert error.problems and all(problem.strip() for problem in error.problems)
    for problem in error.problems:
        assert len(problem.splitlines()) == 1, problem


def read(**source):
    """The study's configuration; None: it is refused in lines."""
    try:
        return read_study(**source).config
    except ConfigError as error:
        said(error)
        return None


def inner_places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from inner_places(inner, (*path, key))


PLACES = [path for path in inner_places(VALID) if path]


def changed(changes) -> dict:
    study = copy.deepcopy(VALID)
    for path, value in changes:
        container = study
        try:
            for step in path[:-1]:
                container = container[step]
            container[path[-1]] = value
        except (KeyError, IndexError, TypeError):  # an earlier change took the place away
            pass
    return study


@SAME_EVERY_TIME
@given(st.text(max_size=200) | TREES.map(lambda tree: yaml.safe_dump(tree, allow_unicode=True)))
@example("? [a]\n: b")
@example("&a [*a]")
@example("!!python/object:os.system x")
@example("a: !!binary x")
@example("<<: 1")
@example("- " * 400)
@example("\ufeffmodel: x")
@example("1e400: 9" + "0" * 5000)
@example("2001-99-99: x")
@example("a: 2001-02-30")
@example("a: 190:20:30.15\nb: 1_000\nc: 0o17\nd: 0b2")
def test_any_text_is_a_study_or_is_refused_in_lines(text):
    read(text=text)


@SAME_EVERY_TIME
@given(st.dictionaries(st.sampled_from(sorted(VALID)) | st.text(max_size=8), TREES, max_size=6))
def test_any_mapping_is_a_study_or_is_refused_in_lines(tree):
    read(given=tree)


@SAME_EVERY_TIME
@given(st.lists(st.tuples(st.sampled_from(PLACES), TREES), min_size=1, max_size=3))
def test_a_valid_study_with_changes_is_one_or_is_refused_and_what_is_written_reads_back(changes):
    study = changed(changes)
    for source in ({"given": study}, {"text": yaml.safe_dump(study, allow_unicode=True)}):
        config = read(**source)
        if config is not None:
            assert read_study(text=dump(config)).config == config


@SAME_EVERY_TIME
@given(st.lists(st.tuples(KEYS | st.text(max_size=12), st.text(max_size=12) | SCALARS.map(str)), max_size=3))
@example([("methods.0." + "1" * 5000, "2")])
@example([("tasks." + "9" * 5000, "2")])
@example([("batch\n.examples", "2")])
@example([("seeds.٣", "1")])
@example([("batch.examples", "9" * 5000)])
@example([("name", "&a [*a]")])
def test_any_set_is_taken_or_refused_in_lines(pairs):
    config = read(given=VALID, overrides=[f"{key}={value}" for key, value in pairs])
    if config is not None:
        assert read_study(text=dump(config)).config == config


def test_the_study_that_is_changed_is_one():
    assert read(given=VALID) is not None and len(PLACES) > 40
    with pytest.raises(ConfigError, match=r"batch\.examples"):
        read_study(given=changed([(("batch", "examples"), -1)]))
