"""Tool calls, reasoning, tools and names in chat templates: written and learned, or refused, or counted."""

import json

import pytest

from data.tokens.chat_templates import (
    CHATML,
    LLAMA3,
    NAMES,
    NULL_CALLS,
    PRINTS,
    THINKS,
    TOOLS,
    small_tokenizer,
)
from data.tokens.test_chat import TALK, chat, learned, row_of
from tunelab.data.tokens.chat import ChatForm
from tunelab.data.tokens.counts import count_notes
from tunelab.data.tokens.tokenise import Tokeniser, tokenise
from tunelab.errors import DataError
from tunelab.records import Turn

ARGUMENTS = {"name": "mill", "near": None}
CALLS = [{"type": "function", "id": "c1", "function": {"name": "find", "arguments": json.dumps(ARGUMENTS)}}]
ASKED = Turn("user", "Where is the mill?")
CALL = Turn("assistant", "", more=json.dumps({"tool_calls": CALLS}))
FOUND = Turn("tool", '{"at": "the river"}', more=json.dumps({"tool_call_id": "c1", "name": "find"}))
ANSWER = Turn("assistant", "By the river.")
SCHEMA = json.dumps({"tools": [{"type": "function", "function": {"name": "find", "parameters": {}}}]})
THOUGHT = Turn("assistant", "Four.", more=json.dumps({"reasoning_content": "2 and 2 make 4."}))
WRITTEN = '<tool_call>find {"name": "mill", "near": null}</tool_call><|im_end|>'


def problem(template: str | None, *turns: Turn, given: str = "") -> str:
    with pytest.raises(DataError) as error:
        ChatForm(small_tokenizer(template)).render(turns, name="row", given=given)
    return str(error.value)


@pytest.mark.parametrize("template", [TOOLS, NULL_CALLS, PRINTS], ids=["objects", "null and text", "text"])
@pytest.mark.parametrize("arguments", [ARGUMENTS, json.dumps(ARGUMENTS)], ids=["object", "text"])
def test_a_call_is_learned_as_the_template_writes_it(template, arguments):
    calls = [{"type": "function", "function": {"name": "find", "arguments": arguments}}]
    tokenizer = small_tokenizer(template)
    row = row_of(tokenizer, ASKED, CALL._replace(more=json.dumps({"tool_calls": calls})))
    assert learned(row, tokenizer) == [WRITTEN]


def test_a_conversation_with_tools_is_what_the_models_own_template_writes():
    tokenizer = small_tokenizer(TOOLS)
    turns = (ASKED, CALL, FOUND, ANSWER)
    rows, counts = tokenise([chat(*turns)._replace(given=SCHEMA)], tokenizer, max_length=512, encoder_decoder=False)
    call = {"type": "function", "id": "c1", "function": {"name": "find", "arguments": ARGUMENTS}}
    messages = [
        {"role": "user", "content": ASKED.text},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": FOUND.text},
        {"role": "assistant", "content": ANSWER.text},
    ]
    tools = json.loads(SCHEMA)["tools"]
    whole = tokenizer.apply_chat_template(messages, tools=tools, return_dict=False)
    assert rows[0].ids.tolist() == whole[: len(rows[0].ids)]
    assert tokenizer.decode(whole[len(rows[0].ids) :]) == "\n"
    assert learned(rows[0], tokenizer) == [WRITTEN, "By the river.<|im_end|>"]
    assert counts.unused_fields == {"name": 1, "tool_call_id": 1}
    assert count_notes("train", counts) == [
        "train: 1 messages have a field 'name' that does not stand in what the model reads",
        "train: 1 messages have a field 'tool_call_id' that does not stand in what the model reads",
    ]


def test_text_and_call_of_one_turn_are_both_learned():
    tokenizer = small_tokenizer(TOOLS)
    row = row_of(tokenizer, ASKED, CALL._replace(text="Let me look."))
    assert learned(row, tokenizer) == [f"Let me look.{WRITTEN}"]


def test_what_a_template_does_not_write_is_refused_with_the_row_and_the_way_out():
    lost = "so it would be lost; take a model whose chat template does, or leave it out: ignore_fields: "
    assert problem(CHATML, ASKED, CALL) == (
        f"row: the model's chat template does not write the call of find, {lost}[tool_calls]"
    )
    assert problem(CHATML, ASKED, CALL, FOUND, ANSWER).endswith(f"the call of find, {lost}[tool_calls]")
    assert problem(CHATML, ASKED, THOUGHT) == (
        "row: the model's chat template does not write the reasoning_content of the assistant, "
        f"{lost}[reasoning_content]"
    )
    assert problem(CHATML, *TALK, given=SCHEMA) == (
        f"row: the model's chat template does not write the row's tools, {lost}[tools]"
    )
    assert problem(NULL_CALLS, ASKED, CALL._replace(text="Let me look.")).endswith("ignore_fields: [tool_calls]")


def test_the_name_of_a_call_in_a_tools_list_is_not_the_call():
    template = TOOLS.replace("{% if message.tool_calls %}", "{% if false %}")
    assert "does not write the tool_calls of the assistant" in problem(template, ASKED, CALL, given=SCHEMA)


def test_the_plain_form_has_text_alone():
    assert problem(None, ASKED, CALL) == (
        "row: has tool_calls, and the plain form of conversations has no place for it; take a model whose chat "
        "template writes it, or leave it out: ignore_fields: [tool_calls]"
    )
    assert problem(None, ASKED, FOUND, ANSWER).startswith("row: has a turn of a tool, and the plain form")
    assert "has reasoning_content" in problem(None, ASKED, THOUGHT)
    assert "has tools" in problem(None, *TALK, given=SCHEMA)
    with pytest.raises(DataError, match="^talk: has tool_calls"):
        tokenise([chat(ASKED, CALL)], small_tokenizer(None), max_length=64, encoder_decoder=True)


@pytest.mark.parametrize("encoder_decoder", [False, True])
def test_names_are_written_where_the_template_does_and_else_counted(encoder_decoder):
    named = Turn("user", "Where?", more='{"name": "Ada"}')
    read = small_tokenizer(NAMES)
    assert "<|im_start|>user Ada\nWhere?" in read.decode(row_of(read, named, ANSWER).ids)
    plain = small_tokenizer(None if encoder_decoder else CHATML, adds_start=False)
    examples = [chat(named, ANSWER, named, ANSWER), chat(ASKED, ANSWER)]
    counts = tokenise(examples, plain, max_length=512, encoder_decoder=encoder_decoder).counts
    assert counts.unused_fields == {"name": 2}


def test_one_use_of_a_field_does_not_hide_another_that_is_not_written():
    template = NAMES.replace("if message.name", "if message.name and loop.first")
    named = Turn("user", "Where?", more='{"name": "Ada"}')
    assert ChatForm(small_tokenizer(template)).render((named, ANSWER, named, ANSWER), name="row").unused == ("name",)


def test_reasoning_is_learned_with_its_turn():
    tokenizer = small_tokenizer(THINKS)
    row = row_of(tokenizer, ASKED, THOUGHT)
    assert learned(row, tokenizer) == ["<think>\n2 and 2 make 4.\n</think>\n\nFour.<|im_end|>"]
    (prompt,) = Tokeniser(tokenizer, max_length=512, encoder_decoder=False).prompts([chat(ASKED, THOUGHT)])
    assert tokenizer.decode(prompt).endswith("<|im_start|>assistant\n")


def test_without_reasoning_the_empty_one_is_given():
    tokenizer = small_tokenizer(THINKS)
    row = row_of(tokenizer, ASKED, ANSWER)
    assert learned(row, tokenizer) == ["By the river.<|im_end|>"]


def test_where_history_is_written_otherwise_only_the_last_turn_can_be_learned():
    reason = problem(THINKS, ASKED, THOUGHT, ASKED, THOUGHT)
    assert "writes earlier turns otherwise once others follow" in reason
    assert reason.endswith("train_on: last learns the last turn of each conversation")
    tokenizer = small_tokenizer(THINKS)
    turns = (ASKED, THOUGHT._replace(learned=False), ASKED, THOUGHT)
    rows, counts = tokenise([chat(*turns)], tokenizer, max_length=512, encoder_decoder=False)
    assert tokenizer.decode(rows[0].ids) == (
        "<s><|im_start|>user\nWhere is the mill?<|im_end|>\n<|im_start|>assistant\nFour.<|im_end|>\n"
        "<|im_start|>user\nWhere is the mill?<|im_end|>\n<|im_start|>assistant\n"
        "<think>\n2 and 2 make 4.\n</think>\n\nFour.<|im_end|>"
    ).removeprefix("<s>")
    assert learned(rows[0], tokenizer) == ["<think>\n2 and 2 make 4.\n</think>\n\nFour.<|im_end|>"]
    assert counts.unused_fields == {"reasoning_content": 1} and counts.context_turns == 1


@pytest.mark.parametrize("template", [CHATML, LLAMA3, None], ids=["chatml", "llama-3", "plain"])
def test_a_turn_that_is_not_learned_is_read(template):
    tokenizer = small_tokenizer(template)
    whole = row_of(tokenizer, *TALK)
    row = row_of(tokenizer, TALK[0], TALK[1]._replace(learned=False), *TALK[2:])
    assert row.ids.tolist() == whole.ids.tolist()
    assert learned(row, tokenizer) == learned(whole, tokenizer)[1:]


def test_a_prediction_is_compared_with_what_the_template_writes():
    tokenizer = small_tokenizer(TOOLS)
    tokeniser = Tokeniser(tokenizer, max_length=512, encoder_decoder=False, split="test")
    call, text = tokeniser.as_written([chat(ASKED, CALL), chat(*TALK)])
    assert call.target == WRITTEN.removesuffix("<|im_end|>") and call.references == (call.target,)
    assert text == chat(*TALK)
