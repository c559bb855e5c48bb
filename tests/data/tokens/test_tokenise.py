import copy

import pytest
from transformers import AutoTokenizer

from tunelab.data.tokens.counts import count_notes
from tunelab.data.tokens.encoded import encode_texts
from tunelab.data.tokens.tokenise import Tokeniser, tokenise
from tunelab.errors import DataError
from tunelab.models.load import EMBEDDED
from tunelab.records import Example


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(EMBEDDED["tunelab/tiny"])


def example(prompt: str, target: str) -> Example:
    return Example("x", prompt, target, (target,))


def test_only_target_and_end_are_supervised(tokenizer):
    (row,) = tokenise([example("a red fox\n", "runs home")], tokenizer, max_length=64, encoder_decoder=False).rows
    supervised = row.ids[row.supervised]
    assert tokenizer.decode(supervised[:-1]) == "runs home"
    assert supervised[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(row.ids[~row.supervised]) == "a red fox\n"


def test_generation_is_given_the_ids_of_training(tokenizer):
    one = example("name = The Mill ; price = low\n", "cheap")
    (row,) = tokenise([one], tokenizer, max_length=64, encoder_decoder=False).rows
    (prompt,) = Tokeniser(tokenizer, max_length=64, encoder_decoder=False).prompts([one])
    assert prompt.tolist() == row.ids[~row.supervised].tolist()


def test_plain_text_is_supervised_but_for_its_first_token(tokenizer):
    (row,) = tokenise([example("", "once upon a time")], tokenizer, max_length=64, encoder_decoder=False).rows
    assert row.supervised.tolist() == [False] + [True] * (len(row.ids) - 1)


def test_a_long_prompt_loses_its_beginning_and_is_counted(tokenizer):
    rows, counts = tokenise([example("word " * 50, "yes no")], tokenizer, max_length=20, encoder_decoder=False)
    assert len(rows[0].ids) == 20
    assert tokenizer.decode(rows[0].ids[rows[0].supervised]).startswith("yes no")
    assert (counts.prompts_cut, counts.targets_cut) == (1, 0)


def test_a_long_target_loses_its_end_and_is_counted(tokenizer):
    both = [example("hello", "word " * 50), example("hello", "world")]
    rows, counts = tokenise(both, tokenizer, max_length=20, encoder_decoder=False)
    assert len(rows[0].ids) == 20
    assert counts.targets_cut == 1
    assert tokenizer.eos_token_id not in rows[0].ids


def test_targets_that_are_all_cut_are_refused(tokenizer):
    with pytest.raises(DataError, match="the end of a text would never be learned; raise batch.max_length"):
        tokenise([example("hello", "word " * 50)], tokenizer, max_length=20, encoder_decoder=False)


def test_pairs_keep_source_and_target_apart(tokenizer):
    one = example("source text", "target text")
    (row,) = tokenise([one], tokenizer, max_length=64, encoder_decoder=True).rows
    assert tokenizer.decode(row.source) == "source text"
    assert row.ids[-1] == tokenizer.eos_token_id and row.supervised.all()


class Bracketing:
    """A tokenizer that puts a start token in front and an end token behind, as LLaMA's and T5's do."""

    eos_token_id = 1

    def __call__(self, texts=None, *, text_target=None, add_special_tokens):
        ids = [[ord(c) for c in text] for text in texts or text_target]
        start = [2] if texts else []
        return {"input_ids": [[*start, *one, 1] for one in ids] if add_special_tokens else ids}


def test_a_start_token_is_never_doubled_and_never_cut():
    (row,) = tokenise([example("abcdef", "xy")], Bracketing(), max_length=6, encoder_decoder=False).rows
    assert row.ids.tolist() == [2, ord("e"), ord("f"), ord("x"), ord("y"), 1]
    assert row.supervised.tolist() == [False, False, False, True, True, True]


def test_a_cut_source_keeps_its_closing_token():
    (row,) = tokenise([example("abcdef", "x")], Bracketing(), max_length=4, encoder_decoder=True).rows
    assert row.source.tolist() == [2, ord("a"), ord("b"), 1]


def test_a_tokenizer_without_an_end_is_refused():
    class Endless(Bracketing):
        eos_token_id = None

    with pytest.raises(DataError, match="could not learn to stop"):
        tokenise([example("a", "b")], Endless(), max_length=8, encoder_decoder=False)


def test_a_lone_surrogate_names_its_row(tokenizer):
    rows = [example("fine", "fine"), Example("row-7", "x", "half \ud83d a face")]
    with pytest.raises(DataError, match=r"row-7: holds half a character \(U\+D83D"):
        tokenise(rows, tokenizer, max_length=64, encoder_decoder=False)


def test_padding_that_is_the_end_token_is_learned_all_the_same(tokenizer):
    same = copy.deepcopy(tokenizer)
    same.pad_token = same.eos_token
    (row,) = tokenise([example("a red fox\n", "runs home")], same, max_length=64, encoder_decoder=False).rows
    assert row.ids[-1] == same.pad_token_id and row.supervised[-1]


@pytest.mark.parametrize("prompt", ["", "name: ", "name:\n\n", "na"])
def test_prompt_and_target_never_share_a_token(tokenizer, prompt):
    one = example(prompt, "meat")
    (row,) = tokenise([one], tokenizer, max_length=64, encoder_decoder=False, split="test").rows
    (given,) = Tokeniser(tokenizer, max_length=64, encoder_decoder=False).prompts([one])
    apart = [*tokenizer(prompt, add_special_tokens=False)["input_ids"], *tokenizer("meat")["input_ids"]]
    assert row.ids.tolist() == [*apart, tokenizer.eos_token_id]
    assert given.tolist() == apart[: len(given)] and tokenizer.decode(given) == prompt


class Spelling(Bracketing):
    """Knows small letters alone."""

    unk_token_id = 3

    def __call__(self, texts=None, *, text_target=None, add_special_tokens):
        ids = super().__call__(texts, text_target=text_target, add_special_tokens=add_special_tokens)["input_ids"]
        return {"input_ids": [[one if one < 4 or chr(one).islower() else 3 for one in row] for row in ids]}


@pytest.mark.parametrize("pairs", [False, True])
def test_unknown_tokens_that_would_be_learned_are_counted_and_loud(pairs):
    examples = [example("A{}", "ab\n"), example("B", "{cd}"), example("c", "ef")]
    _, counts = tokenise(examples, Spelling(), max_length=64, encoder_decoder=pairs)
    assert (counts.unknown_tokens, counts.supervised_tokens) == (3, 9 + 3), "those of prompts are not learned"
    (note,) = count_notes("train", counts)
    assert note.startswith("WARNING train: 3 of 12 learned tokens are the unknown one (25.0%)")


def test_targets_of_unknown_tokens_alone_are_refused():
    with pytest.raises(DataError, match="train: the tokenizer knows no character of any target"):
        tokenise([example("a", "ÄÖ"), example("b", "Ü")], Spelling(), max_length=64, encoder_decoder=True)
    tokenise([example("a", "ÄÖ"), example("b", "x")], Spelling(), max_length=64, encoder_decoder=True)


def test_an_unknown_token_that_is_the_end_token_is_none(tokenizer):
    class ByteLevel(Bracketing):
        unk_token_id = 1

    _, counts = tokenise([example("a", "b")], ByteLevel(), max_length=8, encoder_decoder=False)
    assert counts.unknown_tokens == 0


@pytest.mark.parametrize("name", ["tunelab/tiny", "tunelab/tiny-seq2seq"])
@pytest.mark.parametrize("whole", [False, True])
def test_ids_are_those_of_the_tokenizers_own_call(name, whole):
    own = AutoTokenizer.from_pretrained(EMBEDDED[name])
    texts = ["", " a", "Ärger  x² <s></s>\n東京", own.eos_token, f"a{own.eos_token} b", "\U0001f600", "word " * 3000]
    assert encode_texts(texts, own, whole=whole) == own(texts, add_special_tokens=whole)["input_ids"]
    own.split_special_tokens = True
    assert encode_texts(texts, own, whole=whole) == own(texts, add_special_tokens=whole)["input_ids"]


def test_a_tokenizer_with_a_call_of_its_own_is_called(tokenizer):
    class Lower(type(tokenizer)):
        def _encode_plus(self, text, **options):
            return super()._encode_plus([one.lower() for one in text], **options)

    own = copy.deepcopy(tokenizer)
    own.__class__ = Lower
    assert encode_texts(["THE", "Fox"], own) == encode_texts(["the", "fox"], tokenizer)
