"""Conversations by the templates of several families: what is learned, what is given, what is refused."""

import json

import numpy as np
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from data.tokens.chat_templates import (
    CHATML,
    EVIL,
    FAMILIES,
    GEMMA,
    LLAMA3,
    MISTRAL,
    REASONING,
    SILENT,
    small_tokenizer,
)
from tunelab.config.schema import DataSettings
from tunelab.data.tokens.chat import ChatForm, end_tokens, plain_text
from tunelab.data.tokens.tokenise import Tokeniser, tokenise
from tunelab.errors import DataError
from tunelab.records import Example, Turn

TALK = (
    Turn("user", "Where is the mill?"),
    Turn("assistant", "By the river."),
    Turn("user", " And the inn? "),
    Turn("assistant", "Next to it, near the bridge."),
)
SYSTEM = Turn("system", "You know the town.")


def chat(*turns: Turn) -> Example:
    return Example("talk", "", turns[-1].text, (turns[-1].text,), turns=turns)


def row_of(tokenizer, *turns: Turn, max_length: int = 512, **settings):
    (row,) = tokenise(
        [chat(*turns)], tokenizer, max_length=max_length, encoder_decoder=False, settings=DataSettings(**settings)
    ).rows
    return row


def learned(row, tokenizer) -> list[str]:
    """The text of each supervised stretch."""
    borders = np.flatnonzero(np.diff(np.concatenate([[False], row.supervised, [False]]).astype(int)))
    return [tokenizer.decode(row.ids[start:stop]) for start, stop in borders.reshape(-1, 2)]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_assistants_turns_and_their_ends_are_learned_and_nothing_else(family):
    template, end = FAMILIES[family]
    tokenizer = small_tokenizer(template)
    texts = [text.lstrip() for text in learned(row_of(tokenizer, *TALK), tokenizer)]
    assert [text.removesuffix(end).rstrip() for text in texts] == [TALK[1].text, TALK[3].text]
    assert all(text.endswith(end) for text in texts)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_ids_are_those_of_the_models_own_template_without_a_second_start_token(family):
    template, _ = FAMILIES[family]
    tokenizer = small_tokenizer(template)
    row = row_of(tokenizer, *TALK)
    messages = [{"role": turn.role, "content": turn.text} for turn in TALK]
    whole = tokenizer.apply_chat_template(messages, return_dict=False, date_string="26 Jul 2024")
    assert row.ids.tolist() == whole[: len(row.ids)], "the same ids"
    assert tokenizer.decode(whole[len(row.ids) :]).strip() in ("", "<|end|>"), "and what is left teaches nothing"
    starts = row.ids.tolist().count(tokenizer.bos_token_id)
    assert starts == template.count("bos_token") * (2 if family == "llama-2" else 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_generation_is_given_the_ids_in_front_of_the_last_answer(family):
    tokenizer = small_tokenizer(FAMILIES[family][0])
    row = row_of(tokenizer, *TALK)
    tokeniser = Tokeniser(tokenizer, max_length=512, encoder_decoder=False, split="test")
    answered, asked = tokeniser.prompts([chat(*TALK), chat(*TALK[:-1])])
    last = np.flatnonzero(np.diff(row.supervised.astype(int)) == 1)[-1] + 1
    assert answered.tolist() == asked.tolist() == row.ids[:last].tolist()
    messages = [{"role": turn.role, "content": turn.text} for turn in TALK[:-1]]
    options = {"add_generation_prompt": True, "return_dict": False, "date_string": "26 Jul 2024"}
    assert answered.tolist() == tokenizer.apply_chat_template(messages, **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_system_text_is_read_wherever_the_template_has_its_place(family):
    tokenizer = small_tokenizer(FAMILIES[family][0])
    row = row_of(tokenizer, SYSTEM, *TALK)
    text = tokenizer.decode(row.ids)
    assert text.count(SYSTEM.text) == 1 and text.index(SYSTEM.text) < text.index(TALK[0].text)
    assert len(learned(row, tokenizer)) == 2


@pytest.mark.parametrize("template", [GEMMA, MISTRAL, SILENT], ids=["gemma", "mistral", "silent"])
def test_without_a_system_role_its_text_stands_in_front_of_the_first_users(template):
    text = ChatForm(small_tokenizer(template)).render((SYSTEM, *TALK), name="row").text
    assert f"{SYSTEM.text}\n\n{TALK[0].text}" in text


@pytest.mark.parametrize("problem", EVIL)
def test_a_template_that_cannot_be_masked_is_refused_with_the_reason(problem):
    answer = Turn("assistant", "<think>left or right</think>By the river.")
    with pytest.raises(DataError) as error:
        row_of(small_tokenizer(EVIL[problem]), TALK[0], answer, *TALK[2:])
    assert problem in str(error.value) and "\n" not in str(error.value)


def test_empty_reasoning_in_front_of_an_answer_is_given_and_not_learned():
    tokenizer = small_tokenizer(REASONING)
    row = row_of(tokenizer, *TALK[:2])
    assert learned(row, tokenizer) == ["By the river.<|im_end|>"]
    assert tokenizer.decode(row.ids[~row.supervised]).endswith("assistant\n<think>\n\n</think>\n\n")
    with pytest.raises(DataError, match="^talk: the model's chat template writes earlier turns otherwise"):
        row_of(tokenizer, *TALK)


def test_what_a_template_refuses_is_named_with_the_row():
    with pytest.raises(DataError, match="talk: the model's chat template refuses the roles user, user: Conversation"):
        row_of(small_tokenizer(GEMMA), TALK[0], *TALK[2:])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_end_of_a_turn_ends_generated_text(family):
    template, end = FAMILIES[family]
    tokenizer = small_tokenizer(template)
    assert set(end_tokens(tokenizer)) == {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(end)}


def test_a_model_whose_template_is_refused_ends_at_its_end_of_text():
    tokenizer = small_tokenizer(EVIL["ends the assistant's turn with no token"])
    assert end_tokens(tokenizer) == [tokenizer.eos_token_id]


def test_the_day_of_the_run_changes_no_row():
    assert "26 Jul 2024" in ChatForm(small_tokenizer(LLAMA3)).render(TALK, name="row").text


def test_the_plain_form_needs_no_special_token_but_the_end_of_text():
    tokenizer = small_tokenizer(None)
    row = row_of(tokenizer, SYSTEM, *TALK)
    assert tokenizer.decode(row.ids) == (
        "<s>System:\nYou know the town.\n\nUser:\nWhere is the mill?\n\nAssistant:\nBy the river.<|end|>\n\n"
        "User:\n And the inn? \n\nAssistant:\nNext to it, near the bridge.<|end|>"
    )
    assert learned(row, tokenizer) == ["By the river.<|end|>", "Next to it, near the bridge.<|end|>"]
    (prompt,) = Tokeniser(tokenizer, max_length=512, encoder_decoder=False).prompts([chat(*TALK[:1])])
    assert tokenizer.decode(prompt) == "<s>User:\nWhere is the mill?\n\nAssistant:\n"


def test_an_encoder_reads_the_plain_form_and_the_decoder_learns_the_last_answer():
    tokenizer = small_tokenizer(CHATML, adds_start=False)
    (row,) = tokenise([chat(*TALK)], tokenizer, max_length=512, encoder_decoder=True).rows
    assert tokenizer.decode(row.source) == plain_text(TALK[:-1], end="", answer=True).text
    assert tokenizer.decode(row.ids) == f"{TALK[3].text}<|end|>" and row.supervised.all()


def test_padding_that_is_the_end_of_turn_is_learned_all_the_same():
    tokenizer = small_tokenizer(CHATML)
    tokenizer.pad_token = "<|im_end|>"
    row = row_of(tokenizer, *TALK)
    ends = np.flatnonzero(row.ids == tokenizer.pad_token_id)
    assert row.supervised[ends].tolist() == [False, True, False, True]


@pytest.mark.parametrize("template", [CHATML, None], ids=["chatml", "plain"])
@pytest.mark.parametrize("text", ["\n\nBelow.", "", "  ", "two \n\n lines\n", "naïve 😀"])
def test_answers_of_odd_characters_are_learned_whole(template, text):
    tokenizer = small_tokenizer(template)
    row = row_of(tokenizer, TALK[0], Turn("assistant", text))
    end = "<|im_end|>" if template else "<|end|>"
    assert learned(row, tokenizer) == [f"{text}{end}"]
    (prompt,) = Tokeniser(tokenizer, max_length=512, encoder_decoder=False).prompts([chat(TALK[0])])
    assert prompt.tolist() == row.ids[~row.supervised].tolist()


def test_a_long_conversation_loses_its_beginning_but_not_its_start_token():
    tokenizer = small_tokenizer(GEMMA)
    whole = row_of(tokenizer, *TALK)
    row = row_of(tokenizer, *TALK, max_length=len(whole.ids) - 10)
    assert row.ids.tolist() == [whole.ids[0], *whole.ids[11:]]
    assert row.supervised.tolist() == [False, *whole.supervised[11:]]
    assert learned(row, tokenizer)[-1].endswith("near the bridge.<end_of_turn>")


def test_a_last_answer_that_is_alone_too_long_loses_its_end():
    tokenizer = small_tokenizer(GEMMA)
    rows, counts = tokenise([chat(*TALK), chat(*TALK[:2])], tokenizer, max_length=8, encoder_decoder=False)
    assert rows[0].ids[0] == tokenizer.bos_token_id and rows[0].supervised.tolist() == [False] + [True] * 7
    assert tokenizer.decode(rows[0].ids[1:]).startswith("Next to it")
    assert (counts.examples, counts.overlong, counts.prompts_cut) == (2, 2, 2) and counts.targets_cut == 1


def test_cut_at_the_end_a_conversation_keeps_its_first_answers():
    tokenizer = small_tokenizer(GEMMA)
    whole = row_of(tokenizer, *TALK)
    row = row_of(tokenizer, *TALK, max_length=len(whole.ids) - 4, overlong="truncate")
    assert row.ids.tolist() == whole.ids[:-4].tolist() and learned(row, tokenizer)[0] == "By the river.<end_of_turn>"


def test_conversations_prompts_and_texts_keep_their_order():
    tokenizer = small_tokenizer(CHATML)
    mixed = [chat(*TALK), Example("pair", "a red ", "fox"), chat(*TALK[:2]), Example("text", "", "once upon a time")]
    rows = tokenise(mixed, tokenizer, max_length=512, encoder_decoder=False, split="validation").rows
    assert [row.example for row in rows] == [0, 1, 2, 3]
    assert [learned(row, tokenizer)[-1].split("<")[0] for row in rows] == [
        TALK[3].text,
        "fox",
        TALK[1].text,
        mixed[3].target,
    ]


@pytest.fixture(params=["llama", "gpt2"])
def real_tokenizer(request, shared):
    """One that writes a blank in front of whatever it is given, and one whose start, end and padding are one token."""
    if request.param == "llama":
        return AutoTokenizer.from_pretrained(shared / "data" / "tiny_models" / "stories260K_hf")
    file, end = shared / "data" / "tokenizers" / "gpt2" / "tokenizer.json", "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_file=str(file), eos_token=end, bos_token=end, pad_token=end)


@pytest.mark.parametrize("family", ["llama-2", "mistral", "zephyr"])
@pytest.mark.parametrize("text", ["By the river.", "\nBelow the hill", "  twice"])
def test_real_tokenizers_give_the_ids_of_the_whole_text(real_tokenizer, family, text):
    real_tokenizer.chat_template = FAMILIES[family][0]
    turns = (TALK[0], Turn("assistant", text), *TALK[2:])
    row = row_of(real_tokenizer, *turns)
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    whole = real_tokenizer.apply_chat_template(messages, return_dict=False)
    assert row.ids.tolist() == whole[: len(row.ids)]
    ends = np.flatnonzero(row.supervised & ~np.append(row.supervised[1:], False))
    assert len(ends) == 2 and set(row.ids[ends]) == {real_tokenizer.eos_token_id}
    assert [one.split("<")[0].strip() for one in learned(row, real_tokenizer)] == [text.strip(), TALK[3].text]


@pytest.mark.slow
def test_real_conversations_are_learned_turn_by_turn(real_tokenizer, shared):
    """Text of people and models, with line breaks, code and blanks at the ends of turns."""
    rows = json.loads((shared / "data" / "chat_multiturn_substitute" / "kto_en_demo.json").read_text())[:100]
    talks = [tuple(Turn(one["role"], one["content"]) for one in row["messages"]) for row in rows]
    assert max(len(turns) for turns in talks) > 4
    for family in ("zephyr", "mistral"):
        real_tokenizer.chat_template = FAMILIES[family][0]
        tokenised = tokenise(
            [chat(*turns) for turns in talks], real_tokenizer, max_length=100_000, encoder_decoder=False
        ).rows
        for turns, row in zip(talks, tokenised, strict=True):
            answers = [turn.text.strip() for turn in turns if turn.role == "assistant"]
            written = [one.removesuffix(real_tokenizer.eos_token).strip() for one in learned(row, real_tokenizer)]
            assert written == answers
