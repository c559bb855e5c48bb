"""The E2E task on the real data."""

import pytest

from tunelab.data.sets.named import source_rows
from tunelab.errors import DataError
from tunelab.tasks import e2e_nlg


@pytest.mark.slow
def test_e2e_files_have_their_published_counts(shared):
    task = e2e_nlg.E2eNlg(path=shared / "data/e2e_nlg", validation_rows=None)
    train, validation, test = (task.examples(split) for split in ("train", "validation", "test"))
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


def test_e2e_folder_without_the_files(tmp_path):
    with pytest.raises(DataError, match="trainset.csv"):
        e2e_nlg.E2eNlg(path=tmp_path).examples("train")


@pytest.mark.slow
def test_microsoft_lora_form_is_that_of_its_test_file(shared):
    """Each line of the file is 'meaning||text ', with tokens apart."""
    lines = (shared / "data/e2e_nlg/lora_format_test.txt").read_text(encoding="utf-8").splitlines()
    wanted = [tuple(line.split("||")) for line in lines]
    rows = source_rows("e2e_nlg", "test", path=shared / "data/e2e_nlg")
    meanings = [e2e_nlg.spaced_meaning(row["meaning_representation"]) for row in rows]
    texts = [e2e_nlg.spaced(row["human_reference"]) for row in rows]
    assert meanings == [meaning for meaning, _ in wanted]
    assert sum(text == given.strip() for text, (_, given) in zip(texts, wanted, strict=True)) == 4690


@pytest.mark.slow
def test_microsoft_lora_form_makes_the_rows(shared):
    task = e2e_nlg.E2eNlg(path=shared / "data/e2e_nlg", form="microsoft_lora", prompt="{mr}<|endoftext|>")
    test = task.examples("test")
    assert len(test) == 630
    assert test[0].prompt == "name : Blue Spice | Type : coffee shop | area : city centre<|endoftext|>"
    assert test[0].target == " A coffee shop in the city centre area called Blue Spice ."
    assert task.fingerprint() != e2e_nlg.E2eNlg(path=shared / "data/e2e_nlg").fingerprint()
