"""Facts that hold for every bundled task, and the E2E data."""

import pytest

from tunelab import catalogue
from tunelab.errors import DataError
from tunelab.records import Example
from tunelab.tasks import e2e_nlg

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


def test_e2e_files_have_their_published_counts(shared):
    task = e2e_nlg.E2eNlg(path=shared / "data/e2e_nlg", validation_rows=None)
    train, validation, test = (task.examples(split) for split in e2e_nlg.SPLITS)
    assert (len(train), len(validation), len(test)) == (42061, 4672, 630)
    assert sum(len(example.references) for example in test) == 4693
    assert len({example.prompt for example in train}) == 4862
    assert test[0].prompt == "name[Blue Spice], eatType[coffee shop], area[city centre]\n"
    assert test[0].target == "A coffee shop in the city centre area called Blue Spice."


def test_e2e_draws_keep_all_references_of_a_meaning(shared):
    options = {"path": shared / "data/e2e_nlg"}
    whole = {example.id: example for example in e2e_nlg.E2eNlg(**options).examples("test")}
    drawn = e2e_nlg.E2eNlg(**options, test_meanings=20).examples("test")
    assert len(drawn) == 20
    assert all(example == whole[example.id] for example in drawn)
    assert e2e_nlg.E2eNlg(**options).fingerprint() != e2e_nlg.E2eNlg(**options, test_meanings=20).fingerprint()


def test_e2e_hub_columns_become_those_of_the_files(monkeypatch):
    calls = []

    def rows(dataset, *, split, revision, offline_hint):
        calls.append((dataset, split, revision))
        return [{"meaning_representation": "name[X]", "human_reference": "X."}]

    monkeypatch.setattr(e2e_nlg, "hub_rows", rows)
    assert e2e_nlg.E2eNlg().examples("test") == [Example("test-000000", "name[X]\n", "X.", ("X.",))]
    assert calls == [("tuetschek/e2e_nlg", "test", "refs/convert/parquet")]


def test_e2e_folder_without_the_files(tmp_path):
    with pytest.raises(DataError) as error:
        e2e_nlg.E2eNlg(path=tmp_path).examples("train")
    expected = "'path' must be a folder with trainset.csv, devset.csv, testset_w_refs.csv"
    assert str(error.value) == f"{tmp_path / 'trainset.csv'}: no such file; {expected}"


@pytest.mark.parametrize("name", GENERATED)
def test_a_rehearsed_task_is_small_and_comes_back_from_its_options(name, tmp_path):
    whole = catalogue.load("tasks", name)()
    task = whole.rehearsal(tmp_path)
    assert type(task)(**task.model_dump(mode="json")) == task
    sizes = {split: len(task.examples(split)) for split in ("train", "validation", "test")}
    assert 20 <= sizes["train"] <= 48
    assert all(1 <= sizes[split] <= 8 for split in ("validation", "test"))
    assert task.rehearsal(tmp_path) == task
