"""Conversations as data sets write them become turns, and those become examples."""

import pytest

from tunelab.data.examples.chat_rows import ChatCounts, chat_examples
from tunelab.data.examples.conversations import alpaca_turns, read_turns, readable, system_in_front, trim
from tunelab.errors import DataError
from tunelab.records import Example, Turn

USER, REPLY = Turn("user", "Hi"), Turn("assistant", "Hello")


def message(role: str, content: object) -> dict:
    return {"role": role, "content": content}


def read(*messages: object, **options: object) -> list[Turn]:
    return read_turns({"messages": list(messages)}, "messages", row_name="a.jsonl: row 3", **options)


def problem(*messages: object) -> str:
    with pytest.raises(DataError) as error:
        read(*messages)
    return str(error.value)


@pytest.mark.parametrize(("user", "assistant"), [("user", "assistant"), ("human", "gpt"), ("Human", "ChatGPT")])
def test_roles_take_the_names_of_chat_templates(user, assistant):
    assert read(message(user, "Hi"), message(assistant, "Hello")) == [USER, REPLY]
    assert read({"from": user, "value": "Hi"}, {"from": assistant, "value": "Hello"}) == [USER, REPLY]


def test_a_developer_is_the_system():
    assert read(message("developer", "Be brief."), message("user", "Hi"))[0] == Turn("system", "Be brief.")


def test_a_call_in_openai_s_first_form_may_have_no_text():
    call = {"name": "find", "arguments": "{}"}
    for given in ({"content": None}, {}):
        (turn,) = read({"role": "assistant", "function_call": call, **given})
        assert (turn.text, turn.more) == ("", '{"function_call": {"name": "find", "arguments": "{}"}}')


def test_text_parts_are_joined():
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    assert read(message("user", "Hi"), message("assistant", parts)) == [USER, REPLY]


def test_an_unknown_role_is_one_clear_line():
    assert problem(message("user", "Hi"), message("tool", "42")) == (
        'a.jsonl: row 3, message 2: the role "tool" is unknown; known are system, user, human, assistant, gpt, '
        "chatgpt, model, developer: rewrite the message, or take the row out"
    )
    assert read(message("user", "Hi"), message("tool", "42"), skip_other_roles=True) == [USER]


def test_what_is_not_text_is_refused():
    image = message("user", [{"type": "image_url", "image_url": "x"}])
    assert problem(image) == (
        "a.jsonl: row 3, message 1: its parts must be {type: text, text: ...}; "
        'got type "image_url": only text can be learned'
    )
    assert problem(message("assistant", None)) == "a.jsonl: row 3, message 1: its content must be text; got null"
    assert problem("Hi") == ('a.jsonl: row 3, message 1: must be an object {role, content} or {from, value}; got "Hi"')
    assert problem({"role": "user", "text": "Hi"}).endswith("got an object with the keys role, text")


def test_a_column_that_is_missing_or_holds_text():
    with pytest.raises(
        DataError, match=r"^row 1 has no column 'mesages'\. Did you mean 'messages'\? Columns: messages"
    ):
        read_turns({"messages": []}, "mesages", row_name="row 1")
    with pytest.raises(DataError, match=r"must be a list of messages .*; got \"Hi\"$"):
        read_turns({"messages": "Hi"}, "messages", row_name="row 1")


def test_alpaca_rows_with_and_without_input():
    row = {"instruction": "Add.", "input": "1, 2", "output": "3"}
    assert alpaca_turns(row, row_name="row 1") == [Turn("user", "Add.\n\nInput: 1, 2"), Turn("assistant", "3")]
    for nothing in ({"input": ""}, {"input": None}, {"input": " "}):
        assert alpaca_turns(row | nothing, row_name="row 1")[0].text == "Add."
    assert alpaca_turns({"instruction": "Hi", "output": "Hello"}, row_name="row 1") == [USER, REPLY]
    with pytest.raises(DataError, match="row 1 has no column 'output'. Columns: instruction"):
        alpaca_turns({"instruction": "Hi"}, row_name="row 1")


def test_a_conversation_is_cut_to_begin_with_user_and_end_with_assistant():
    system = Turn("system", "Be brief.")
    assert trim([system, USER, REPLY]) == ((system, USER, REPLY), 0)
    assert trim([REPLY, USER, REPLY, USER]) == ((USER, REPLY), 2)
    assert trim([system, REPLY, USER, REPLY]) == ((system, USER, REPLY), 1)
    assert trim([USER, REPLY, USER, REPLY, USER, USER]).num_cut == 2
    for unanswered in ([], [USER], [REPLY], [REPLY, USER], [system, REPLY]):
        assert trim(unanswered) == ((), len(unanswered))


def test_system_text_is_put_in_front_of_the_first_user_turn():
    turns = [Turn("system", "Be brief."), USER, REPLY, USER, REPLY]
    assert system_in_front(turns) == [Turn("user", "Be brief.\n\nHi"), REPLY, USER, REPLY]
    assert system_in_front([USER, REPLY]) == [USER, REPLY]


def test_several_turns_are_readable_with_their_roles():
    assert readable([USER]) == "Hi"
    assert readable([USER, REPLY, Turn("user", "Bye")]) == "User:\nHi\n\nAssistant:\nHello\n\nUser:\nBye"


def read_messages(row, row_name):
    return read_turns(row, "messages", row_name=row_name)


def rows(*conversations):
    return [{"messages": [message(turn.role, turn.text) for turn in turns]} for turns in conversations]


def test_rows_become_examples_and_what_was_left_out_is_counted():
    given = rows([USER, REPLY, USER], [USER], [USER, Turn("assistant", " \n")], [USER, REPLY])
    examples, counts = chat_examples(given, read_messages, split="train", source="a.jsonl")
    assert examples == [
        Example("train-000000", "Hi", "Hello", ("Hello",), (USER, REPLY)),
        Example("train-000003", "Hi", "Hello", ("Hello",), (USER, REPLY)),
    ]
    assert counts == ChatCounts(num_rows=4, num_without_answer=1, num_empty=1, num_cut=1)
    assert counts.notes("train") == [
        "train: 1 of 4 rows left out, no assistant's turn follows a user's",
        "train: 1 of 4 rows left out, their target is empty",
        "train: 1 of 4 rows used without the turns before their first user's or after their last assistant's",
    ]


def test_equal_turns_before_the_last_answer_are_one_example_where_asked():
    other = Turn("assistant", "Hey")
    given = rows([USER, REPLY], [USER, REPLY, USER, REPLY], [USER, other])
    examples = chat_examples(given, read_messages, split="test", source="a.jsonl", group=True).examples
    assert [example.references for example in examples] == [("Hello", "Hey"), ("Hello",)]
    assert [example.id for example in examples] == ["test-000000", "test-000001"]
    assert len(chat_examples(given, read_messages, split="train", source="a.jsonl").examples) == 3


def test_no_row_with_an_answer():
    with pytest.raises(DataError, match=r"^a\.jsonl: none of its 2 rows has an answer to learn \(2 without an "):
        chat_examples(rows([USER], [REPLY]), read_messages, split="train", source="a.jsonl")
