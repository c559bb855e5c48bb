"""GSM8K on the real data."""

import pytest

from tunelab.tasks.gsm8k import Gsm8k


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "data/gsm8k"


def test_the_published_counts(folder):
    task = Gsm8k(path=folder)
    assert [len(task.examples(split)) for split in ("train", "validation", "test")] == [7473, 0, 1319]


def test_prompt_and_answer_are_those_of_lm_evaluation_harness(folder):
    first = Gsm8k(path=folder).examples("train")[0]
    assert first.prompt.startswith("Question: Natalia sold clips to 48 of her friends in April")
    assert first.prompt.endswith("?\nAnswer:")
    assert first.target.startswith(" Natalia sold 48/2 = <<48/2=24>>24 clips in May.")
    assert first.target.endswith("#### 72")


def test_annotations_can_be_stripped_from_every_answer(folder):
    stripped = Gsm8k(path=folder, annotations="strip")
    for split in ("train", "test"):
        assert not any("<<" in example.target or ">>" in example.target for example in stripped.examples(split))
    assert stripped.examples("train")[0].target.startswith(" Natalia sold 48/2 = 24 clips in May.")
    assert stripped.fingerprint() != Gsm8k(path=folder).fingerprint()


def test_shots_are_worked_train_examples_before_each_test_question_only(folder):
    task, plain = Gsm8k(path=folder, shots=3, test_rows=4), Gsm8k(path=folder, test_rows=4)
    train = {example.prompt + example.target for example in plain.examples("train")}
    for with_shots, without in zip(task.examples("test"), plain.examples("test"), strict=True):
        *shots, question = with_shots.prompt.split("\n\nQuestion:")
        assert len(shots) == 3 and f"Question:{question}" == without.prompt
        assert {shot if shot.startswith("Question:") else f"Question:{shot}" for shot in shots} <= train
    assert task.examples("train") == plain.examples("train")
    assert task.notes("test")[-1] == "test: 3 worked examples before each question"


def test_the_same_number_of_rows_is_the_same_rows_and_part_of_a_larger_draw(folder):
    few, more = (Gsm8k(path=folder, test_rows=number).examples("test") for number in (10, 50))
    assert few == Gsm8k(path=folder, test_rows=10).examples("test")
    assert {example.id for example in few} < {example.id for example in more}
    assert few != Gsm8k(path=folder, test_rows=10, seed=1).examples("test")
