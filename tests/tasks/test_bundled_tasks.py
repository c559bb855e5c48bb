"""Facts that hold for every bundled task."""

import pytest

from tunelab import catalogue

FROM_FILES = ("files", "e2e_nlg", "gsm8k", "news_summary", "summarize", "instructions", "corpora")
GENERATED = [name for name in catalogue.names("tasks") if name not in FROM_FILES]


def small(name: str, **options):
    """A generated task at test size."""
    task = catalogue.load("tasks", name)
    sizes = [field for field in task.model_fields if field.endswith(("rows", "documents", "pairs"))]
    return task(**dict.fromkeys(sizes, 30), **options)


@pytest.mark.parametrize("name", GENERATED)
def test_generated_examples_are_fixed_and_complete(name):
    task = small(name)
    for split in ("train", "validation", "test"):
        examples = task.examples(split)
        assert examples == task.examples(split)
        assert 5 <= len(examples) <= 30
        assert len({example.id for example in examples}) == len(examples)
        assert all(example.target.strip() and example.target in example.references for example in examples)
        assert all(example.id.startswith(split) for example in examples)
    assert task.notes("train") == []


@pytest.mark.parametrize("name", [name for name in catalogue.names("tasks") if name != "files"])
def test_default_metrics_exist(name):
    for metric in catalogue.load("tasks", name)().metrics:
        metric_name, _, variant = metric.partition(":")
        assert variant in catalogue.load("metrics", metric_name).variants


@pytest.mark.parametrize("name", GENERATED)
def test_no_generated_test_row_stands_in_train(name):
    task = small(name)
    rows = [{(example.prompt, example.target) for example in task.examples(split)} for split in ("train", "test")]
    assert not rows[0] & rows[1]


@pytest.mark.parametrize("name", GENERATED)
def test_seed_changes_rows_and_fingerprint(name):
    one, other = small(name), small(name, seed=1)
    assert one.name == name
    assert one.examples("train") != other.examples("train")
    assert one.fingerprint() != other.fingerprint()
    assert one.fingerprint() == small(name, metrics=["bleu"]).fingerprint()


def test_restaurants_have_several_references_a_meaning():
    test = catalogue.load("tasks", "restaurants")().examples("test")
    assert 190 <= len(test) <= 200
    assert all(len(example.references) >= 3 for example in test)
    assert all(example.prompt.endswith("\n") for example in test)


@pytest.mark.parametrize("name", [name for name in FROM_FILES if name in catalogue.names("tasks") and name != "files"])
def test_a_rehearsal_has_rows_and_needs_no_network(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    task = catalogue.load("tasks", name)().rehearsal(tmp_path)
    assert task.examples("train") and task.examples("test")
    assert task.problems() == []
    assert all(example.target.strip() for example in task.examples("test"))
