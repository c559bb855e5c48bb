"""One's own data inline in a study."""

import json

import pytest
from pydantic import ValidationError

from tunelab.config.explain import explain
from tunelab.errors import DataError
from tunelab.records import Example
from tunelab.tasks.files import Files


@pytest.fixture
def options(tmp_path):
    """Options of a task with 20 rows to train on, one of them without an answer, and 4 test rows on 2 questions."""
    train = [{"question": f"q{row}", "answer": f"a{row}" if row else ""} for row in range(20)]
    test = [{"question": f"q{row % 2}", "answer": f"a{row}"} for row in range(4)]
    for name, rows in (("train", train), ("test", test)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "name": "replies",
        "train": str(tmp_path / "train.jsonl"),
        "test": str(tmp_path / "test.jsonl"),
        "prompt": "{question}\n",
        "target": "{answer}",
    }


def problems(options: dict) -> list[str]:
    with pytest.raises(ValidationError) as error:
        Files.model_validate_json(json.dumps(options), strict=True)
    return [f"{'.'.join(map(str, path))}: {text}" for path, text in explain(error.value, given=options, model=Files)]


def test_rows_become_examples(options):
    task = Files(**options)
    assert task.examples("train")[0] == Example("train-000001", "q1\n", "a1", ("a1",))
    assert task.examples("validation") == []
    assert [example.references for example in task.examples("test")] == [("a0", "a2"), ("a1", "a3")]
    assert task.metrics == ("rouge_l", "bleu")


def test_what_was_left_out_or_drawn_is_noted(options):
    task = Files(**options, train_rows=5)
    assert len(task.examples("train")) == 5
    assert task.notes("train") == [
        "train: 1 of 20 rows left out, their target is empty",
        "train: 5 of 19 examples drawn by seed 0",
    ]
    assert task.notes("test") == task.notes("validation") == []


def test_plain_text(options):
    del options["prompt"], options["target"]
    task = Files(**options, text="{question} {answer}")
    assert task.examples("test")[1] == Example("test-000001", "", "q1 a1", ("q1 a1",))
    assert task.metrics == ("perplexity", "bits_per_token")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"text": "{answer}"}, ": needs prompt and target, or text alone; got prompt and target and text"),
        ({"prompt": None}, ": needs prompt and target, or text alone; got target"),
        ({"prompt": {"question": None}}, 'prompt: {question} without quotes is a mapping in YAML; write "{question}"'),
        (
            {"target": "answer"},
            "target: 'answer' names no column, so it is the same for every row; write it as '{column}'",
        ),
        ({"target": "{answer"}, "target: '{' in '{answer' is not '{column}'; write '{{' or '}}' for a brace itself"),
        (
            {"encoding": "utf-9"},
            "encoding: 'utf-9' is not an encoding Python knows; common ones are utf-8, cp1252, utf-16",
        ),
        ({"train_rows": True}, "train_rows: must be a whole number; got true"),
        ({"metrics": "bleu"}, "metrics: must be a list; got 'bleu'; write [bleu]"),
    ],
)
def test_wrong_options_are_explained(options, change, expected):
    assert problems({**options, **change}) == [expected]


def test_metrics_of_one_s_own_are_kept(options):
    task = Files.model_validate_json(json.dumps({**options, "metrics": ["exact_match"]}), strict=True)
    assert task.metrics == ("exact_match",)


def test_unknown_option_names_the_nearest(options):
    (message,) = problems({**options, "targets": "{answer}"})
    assert message.startswith(
        "targets: unknown key; did you mean 'target'? Keys: name, metrics, generation, train, test,"
    )


def test_an_unknown_column_lists_the_file_s_columns(options):
    task = Files(**{**options, "target": "{anwser}"})
    with pytest.raises(DataError) as error:
        task.examples("test")
    expected = "test.jsonl: row 1 has no column 'anwser'. Did you mean 'answer'? Columns: question, answer"
    assert str(error.value).endswith(expected)


def test_fingerprint_follows_rows_and_not_metrics(options, tmp_path):
    first = Files(**options).fingerprint()
    assert first == Files(**options, metrics=["bleu"]).fingerprint()
    assert first != Files(**options, train_rows=3).fingerprint()
    with open(options["test"], "a") as file:
        file.write('{"question": "x", "answer": "y"}\n')
    assert first != Files(**options).fingerprint()


def test_a_rehearsal_is_on_the_first_rows_of_each_file(options, tmp_path):
    long = tmp_path / "long.csv"
    long.write_text("question,answer\n" + "".join(f"q{row},{'é' if row else ''}\n" for row in range(200)), "cp1252")
    whole = Files(**{**options, "train": str(long), "encoding": "cp1252"})
    task = whole.rehearsal(tmp_path / "rows")
    assert task.train == tmp_path / "rows" / "train.jsonl"
    assert task.validation is None
    assert task.examples("train") == whole.examples("train")[:48]
    assert task.examples("test") == whole.examples("test")
    assert (task.train_rows, task.test_rows) == (48, 8)
    assert Files(**task.model_dump(mode="json")) == task
