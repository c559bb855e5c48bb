"""Fields of messages become what is learned and what a chat template is given; wrong ones are one line."""

import json

import pytest

from tunelab.data.examples.chat_rows import ChatCounts, chat_examples
from tunelab.data.examples.conversations import ROLES_WITH_TOOLS, completion_turns, read_turns, without_empty_answers
from tunelab.data.examples.message_fields import given_fields
from tunelab.errors import DataError
from tunelab.records import Turn

CALLS = [{"type": "function", "function": {"name": "find", "arguments": '{"name": "mill"}'}}]


def read(*messages: object, ignore: tuple[str, ...] = ()) -> list[Turn]:
    return read_turns({"m": list(messages)}, "m", row_name="a.jsonl: row 3", roles=ROLES_WITH_TOOLS, ignore=ignore)


def reply(content: object = "Hello", **fields: object) -> dict:
    return {"role": "assistant", "content": content, **fields}


def user(content: str = "Hi", **fields: object) -> dict:
    return {"role": "user", "content": content, **fields}


@pytest.mark.parametrize(
    ("fields", "learned"),
    [
        ({}, True),
        ({"weight": 1}, True),
        ({"weight": 1.0}, True),
        ({"weight": None}, True),
        ({"weight": 0}, False),
        ({"weight": 0.0}, False),
        ({"train": False}, False),
        ({"training": False, "weight": 1}, False),
        ({"train": True}, True),
    ],
)
def test_a_weight_says_whether_a_turn_is_learned(fields, learned):
    assert read(reply(**fields)) == [Turn("assistant", "Hello", learned)]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (reply(weight=0.5), "its weight must be 0 (read, not learned) or 1 (learned); got 0.5"),
        (reply(weight="0"), 'its weight must be 0 (read, not learned) or 1 (learned); got "0"'),
        (reply(train=2), "its train must be true or false; got 2"),
        (reply(None), "its content must be text; got null"),
        (reply(tool_calls="find"), "its tool_calls must be a list of {type: function, function: {name, arguments}}; "),
        (reply(tool_calls=[{"name": 1}]), "its tool_calls must be a list of {type: function, function: {name, "),
        (
            reply(tool_calls=[{"function": {"name": "find", "arguments": "{"}}]),
            'its call\'s arguments are not valid JSON: "{"',
        ),
        (reply(tool_calls=[{"function": {"name": "f", "arguments": [1]}}]), "arguments must be an object; got [1]"),
        (reply(reasoning="a", thinking="b"), "its reasoning and thinking are names of one field and differ; keep one"),
        (reply(reasoning_content=["a"]), 'its reasoning_content must be text; got ["a"]'),
    ],
)
def test_a_wrong_field_is_one_line_with_its_row(message, said):
    with pytest.raises(DataError) as error:
        read(user(), message)
    assert str(error.value).startswith("a.jsonl: row 3, message 2: ") and said in str(error.value)
    assert "\n" not in str(error.value)


def test_others_are_never_learned_whatever_their_weight():
    assert read(user(weight=0)) == [Turn("user", "Hi")]
    assert read(user(weight=1)) == [Turn("user", "Hi", more='{"weight": 1}')]


def test_a_call_needs_no_text_and_stays_as_it_is_written():
    more = json.dumps({"tool_calls": CALLS})
    without = {"role": "assistant", "tool_calls": CALLS}
    assert read(reply(None, tool_calls=CALLS)) == read(without) == [Turn("assistant", "", more=more)]
    assert read(reply("", tool_calls=json.dumps(CALLS))) == [Turn("assistant", "", more=more)]


def test_reasoning_has_one_name_and_nothing_is_nothing():
    thought = Turn("assistant", "Hello", more='{"reasoning_content": "Politely."}')
    for name in ("reasoning", "thinking", "reasoning_content"):
        assert read(reply(**{name: "Politely."})) == [thought]
    assert read(reply(reasoning="Politely.", reasoning_content="Politely.")) == [thought]
    assert read(reply(tool_calls=[], name="", reasoning_content=None)) == [Turn("assistant", "Hello")]


def test_other_fields_are_kept_for_the_template_unless_ignored():
    assert read(user(name="Ada", id=7)) == [Turn("user", "Hi", more='{"name": "Ada", "id": 7}')]
    assert read(user(name="Ada", id=7), ignore=("name", "id")) == [Turn("user", "Hi")]
    assert read(reply(None, tool_calls=CALLS), ignore=("tool_calls",)) == [Turn("assistant", "")]
    assert read(reply(weight=0), ignore=("weight",)) == [Turn("assistant", "Hello")]


def test_a_list_of_messages_may_be_json_text():
    row = {"m": json.dumps([user(), reply()])}
    assert read_turns(row, "m", row_name="row 1") == [Turn("user", "Hi"), Turn("assistant", "Hello")]


def test_tools_and_documents_of_a_row():
    tool = {"type": "function", "function": {"name": "find"}}
    row = {"tools": [tool], "documents": json.dumps([{"text": "A mill."}]), "messages": []}
    expected = {"tools": [tool], "documents": [{"text": "A mill."}]}
    assert json.loads(given_fields(row, ignore=(), row_name="row 1")) == expected
    assert given_fields(row, ignore=("tools", "documents"), row_name="row 1") == ""
    assert given_fields({"tools": None, "documents": "[]"}, ignore=(), row_name="row 1") == ""
    with pytest.raises(DataError, match=r"^row 1: the column 'tools' must be a list of objects.*got \[\"hammer\"\]; "):
        given_fields({"tools": ["hammer"]}, ignore=(), row_name="row 1")


def test_of_a_prompt_and_a_completion_the_completion_is_learned():
    row = {"prompt": [user(), reply("Draft"), user("Again")], "completion": [reply()]}
    turns = completion_turns(row, ("prompt", "completion"), row_name="row 1", ignore=())
    assert [(turn.text, turn.learned) for turn in turns if turn.role == "assistant"] == [
        ("Draft", False),
        ("Hello", True),
    ]


def examples(*rows: list[dict], **options: object):
    def turns(row: dict, name: str) -> list[Turn]:
        read = read_turns(row, "m", row_name=name, roles=ROLES_WITH_TOOLS)
        return without_empty_answers(read)

    return chat_examples([{"m": row} for row in rows], turns, split="test", source="a.jsonl", **options)


def learned(made) -> list[list[bool]]:
    return [[turn.learned for turn in example.turns if turn.role == "assistant"] for example in made.examples]


def test_a_conversation_ends_with_its_last_learned_turn_and_what_is_not_learned_is_counted():
    made = examples(
        [user(), reply("Draft", weight=0), user("Again"), reply()],
        [user(), reply(), user("Again"), reply("Worse", weight=0)],
        [user(), reply(weight=0)],
        [user(), reply(""), user("Again"), reply()],
    )
    assert learned(made) == [[False, True], [True], [False, True]]
    assert [example.id for example in made.examples] == ["test-000000", "test-000001", "test-000003"]
    assert made.counts == ChatCounts(4, num_unlearned=1, num_cut=1, num_weight_0=1, num_empty_turns=1)
    assert made.counts.notes("test") == [
        "test: 1 of 4 rows left out, all of their assistant's turns have weight 0",
        "test: 1 of 4 rows used without the turns before their first user's or after their last assistant's that is "
        "learned",
        "test: 1 turns of the assistant have weight 0: read, not learned",
        "test: 1 turns of the assistant are empty: read, not learned",
    ]


def test_the_last_turn_alone_is_learned_where_asked():
    made = examples([user(), reply(), user("Again"), reply("Bye")], train_on="last")
    assert learned(made) == [[False, True]]
    assert made.examples[0].target == "Bye"


def test_what_is_asked_is_equal_whatever_of_it_is_learned():
    made = examples(
        [user(), reply("Draft", weight=0), user("Again"), reply("a")],
        [user(), reply("Draft"), user("Again"), reply("b")],
        group=True,
    )
    assert [example.references for example in made.examples] == [("a", "b")]


def test_a_call_is_no_second_reference():
    made = examples([user(), reply("a")], [user(), reply(None, tool_calls=CALLS)], group=True)
    assert [example.references for example in made.examples] == [("a",), (json.dumps(CALLS[0]),)]


def test_calls_and_tools_stand_in_the_prompt_that_a_reader_sees():
    found = {"role": "tool", "content": "42"}
    (example,) = examples([user(), reply(None, tool_calls=CALLS), found, reply()]).examples
    assert example.prompt == f"User:\nHi\n\nAssistant:\n{json.dumps(CALLS[0])}\n\nTool:\n42"
