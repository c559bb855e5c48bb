"""Which shape columns have, and what is said where none or several fit."""

import pytest

from tunelab.data.examples.shapes import detect, first_columns
from tunelab.errors import DataError


@pytest.mark.parametrize(
    ("columns", "kind", "name"),
    [
        (["messages"], "messages", "openai messages"),
        (["prompt", "prompt_id", "messages"], "messages", "openai messages"),
        (["id", "conversations"], "messages", "sharegpt conversations"),
        (["instruction", "input", "output", "text"], "alpaca", "alpaca (instruction, input, output)"),
        (["instruction", "output"], "alpaca", "alpaca (instruction, output)"),
        (["prompt", "completion"], "pair", "prompt and completion"),
        (["question", "answer", "level"], "pair", "question and answer"),
        (["text", "label"], "text", "plain text (text)"),
    ],
)
def test_known_shapes_are_told_by_their_columns(columns, kind, name):
    shape = detect(columns, source="train.jsonl")
    assert (shape.kind, shape.name) == (kind, name)


def test_a_pair_is_read_by_templates():
    shape = detect(["question", "answer"], source="train.jsonl")
    assert (shape.prompt, shape.target) == ("{question}\n", "{answer}")
    assert detect(["text"], source="train.jsonl").target == "{text}"


def test_several_shapes_are_named_with_what_to_write():
    with pytest.raises(DataError) as error:
        detect(["messages", "question", "answer"], source="train.jsonl")
    assert str(error.value) == (
        "train.jsonl: can be read as openai messages or question and answer; "
        r'write which: messages: messages, or prompt: "{question}\n", target: "{answer}"'
    )


def test_no_shape_names_the_columns_and_what_to_write():
    with pytest.raises(DataError) as error:
        detect(["frage", "antwort"], source="train.jsonl")
    assert str(error.value) == (
        "train.jsonl: its columns (frage, antwort) have none of the known shapes (messages, conversations, "
        "instruction and output, prompt and completion, question and answer, text); write prompt: and target: "
        "(or text:) with columns in braces, or messages: with the column that holds conversations"
    )


def test_columns_of_later_rows_count_too():
    assert first_columns([{"instruction": "a", "output": "b"}, {"instruction": "a", "input": "c", "output": "b"}]) == (
        "instruction",
        "output",
        "input",
    )
