"""Bits per byte divide by the bytes whose tokens are in the loss, and by no others."""

import pytest
from transformers import AutoTokenizer

from tunelab.data.tokens.tokenise import tokenise
from tunelab.models.load import EMBEDDED
from tunelab.records import Example, Turn
from tunelab.study.executing.predict import supervised_bytes

TEXT = "The mill of Ålesund , says Zoë ( 24 ) , stands by the river.\n\nNobody works there."


def bytes_of(*examples: Example, model: str = "tunelab/tiny", max_length: int = 256) -> int:
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED[model])
    pair = model != "tunelab/tiny"
    rows = tokenise(examples, tokenizer, max_length=max_length, encoder_decoder=pair, split="test").rows
    return sum(supervised_bytes(row, tokenizer) for row in rows)


def pair(prompt: str, target: str) -> Example:
    return Example("x", prompt, target, (target,))


@pytest.mark.parametrize("model", ["tunelab/tiny", "tunelab/tiny-seq2seq"])
def test_a_whole_target_has_its_own_bytes(model):
    assert bytes_of(pair("Where?\n", TEXT), model=model) == len(TEXT.encode())


def test_of_a_plain_text_the_first_token_is_not_in_the_loss():
    first = AutoTokenizer.from_pretrained(EMBEDDED["tunelab/tiny"])(TEXT)["input_ids"][:1]
    cut = len(AutoTokenizer.from_pretrained(EMBEDDED["tunelab/tiny"]).decode(first).encode())
    assert bytes_of(pair("", TEXT)) == len(TEXT.encode()) - cut


def test_what_was_cut_at_max_length_is_not_counted():
    long = "one two three " * 200
    assert 40 < bytes_of(pair("Say it:", long), pair("Short:", ""), max_length=32) < 200


def test_a_long_document_s_bytes_are_counted_once_over_its_rows():
    long = TEXT * 20
    assert bytes_of(pair("", long), max_length=32) == bytes_of(pair("", long), max_length=10_000)


def test_every_answer_of_a_conversation_is_counted():
    answers = ("By the river.", "Next to it.")
    turns = tuple(
        Turn(role, text) for answer in answers for role, text in (("user", "Where is it?"), ("assistant", answer))
    )
    example = Example("x", "", answers[-1], answers[-1:], turns)
    assert bytes_of(example) == sum(len(answer.encode()) for answer in answers)
