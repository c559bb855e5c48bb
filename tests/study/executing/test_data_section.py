"""A task's rows as a run sees them: the study's `data` section in every split, and what a reader is told."""

import pytest

import tiny
from tunelab.config.schema import ModelSource
from tunelab.contracts import Task
from tunelab.errors import DataError
from tunelab.models.load import load_text, locate
from tunelab.records import Example, Turn
from tunelab.study.executing.prepare import prepare


class Talks(Task):
    name: str = "talks"
    metrics: tuple[str, ...] = ("rouge_l",)

    def examples(self, split):
        asked = [(Turn("user", f"How many are {n}?"), Turn("assistant", f"There are {n}.")) for n in range(40)]
        return [Example(f"{split}-{n}", "", turns[-1].text, (turns[-1].text,), turns) for n, turns in enumerate(asked)]

    def fingerprint(self):
        return "talks"


class Texts(Talks):
    def examples(self, split):
        return [Example(f"{split}-{n}", "", "a mill by the river " * (1 + n % 7)) for n in range(40)]


def prepared(task: Task, *, model: str = "tunelab/tiny", training: bool = True, **changes):
    source = ModelSource(name=model)
    return prepare(task, load_text(source, locate(source)), tiny.run_config(**changes), training=training)


def test_conversations_reach_the_run_in_the_form_of_its_model():
    data = prepared(Talks(name="talks"))
    assert len(data.train) == len(data.test_rows) == len(data.test_prompts) == 40
    assert all(row.num_supervised for row in data.train)
    for row, prompt in zip(data.test_rows, data.test_prompts, strict=True):
        assert prompt.tolist() == row.ids[~row.supervised].tolist()
    assert not [note for note in data.notes if "plain form" in note]


def test_a_model_without_a_chat_template_says_that_it_reads_the_plain_form():
    data = prepared(Talks(name="talks"), model="tunelab/tiny-seq2seq")
    assert "train: 40 conversations are written in the plain form" in "\n".join(data.notes)
    assert data.summary["splits"]["test"]["counts"]["plain_conversations"] == 40


def test_texts_are_packed_in_training_and_one_a_row_elsewhere():
    data = prepared(Texts(name="texts"), batch={"max_length": 64})
    assert len(data.train) < 40 == len(data.validation) == len(data.test_rows)
    assert max(len(row.starts) for row in data.train) > 1
    assert any("40 documents share" in note for note in data.notes)
    apart = prepared(Texts(name="texts"), batch={"max_length": 64}, data={"packing": False})
    assert len(apart.train) == 40
    supervised = [sum(row.num_supervised for row in some) for some in (data.train, apart.train)]
    assert supervised[0] <= supervised[1], "the first token of a text that goes on in the next row has no context"


def test_what_is_left_out_of_train_stays_in_test():
    changes = {"batch": {"max_length": 24}, "data": {"overlong": "drop", "packing": False}}
    data = prepared(Texts(name="texts"), **changes)
    left_out = 40 - len(data.train)
    assert left_out > 0 and len(data.test_prompts) == 40
    examples = [row.example for row in data.test_rows]
    assert sorted(set(examples)) == list(range(40)) and len(examples) > 40  # long documents lie in several rows
    assert any(note.startswith(f"train: {left_out} of 40 rows left out") for note in data.notes)
    assert any(note.startswith("WARNING train:") for note in data.notes)
    with pytest.raises(DataError, match="train: .* rows are longer than batch.max_length"):
        prepared(
            Texts(name="texts"), batch={"max_length": 24}, data={"overlong": "error"}, model="tunelab/tiny-seq2seq"
        )
