"""Characters that a tokenizer does not give back are counted by name, and those of a lossless one never."""

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tunelab.data.tokens.counts import count_notes
from tunelab.data.tokens.tokenise import tokenise
from tunelab.models.load import EMBEDDED
from tunelab.records import Example, Turn

TEXT = ["the mill stands by the river, near the old town.", "select name from people where age is 30"] * 50


@pytest.fixture(scope="module")
def joining():
    """As T5's: compatible forms are one, blanks and line breaks a single blank, no curly bracket."""
    backend = Tokenizer(models.Unigram())
    one_blank = normalizers.Replace(Regex(r"\s+"), " ")
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), one_blank])
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>")
    backend.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def counts_of(tokenizer, *targets, pairs=True, **options):
    examples = [Example(str(place), "the mill", target) for place, target in enumerate(targets)]
    return tokenise(examples, tokenizer, max_length=256, encoder_decoder=pairs, **options).counts


def test_line_breaks_blanks_and_unknown_characters_are_lost(joining):
    counts = counts_of(joining, "name\nage", "the  mill", "{old", "by the river")
    assert counts.lost == {"\n": 1, " ": 1, "{": 1}
    assert (counts.lost_characters, counts.characters) == (3, 8 + 9 + 4 + 12)
    (note,) = (note for note in count_notes("train", counts) if "come back" in note)
    assert note.startswith("WARNING train: 3 of 33 characters of the learned texts do not come back from the tokenizer")


def test_a_replaced_letter_is_lost(joining):
    assert counts_of(joining, "\ufb01sh near the mill " * 5).lost == {"\ufb01": 5}


def test_outer_blanks_are_no_loss(joining):
    assert counts_of(joining, " the mill \n").lost_characters == 0


@pytest.mark.parametrize("name", list(EMBEDDED))
def test_a_tokenizer_of_bytes_loses_nothing_and_is_not_asked(name):
    counts = counts_of(
        AutoTokenizer.from_pretrained(EMBEDDED[name]), "{a}\n  \ufb01 \u00e9\U0001f600", pairs="seq2seq" in name
    )
    assert (counts.characters, counts.lost_characters) == (0, 0)


def test_of_conversations_only_learned_turns_count(joining):
    talk = (
        Turn("user", "a\nb"),
        Turn("assistant", "the\nmill", False),
        Turn("user", "x"),
        Turn("assistant", "old\ntown"),
    )
    made = tokenise([Example("0", "", "", turns=talk)], joining, max_length=256, encoder_decoder=False).counts
    assert (made.lost, made.characters) == ({"\n": 1}, len("old\ntown"))
