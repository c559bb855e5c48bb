"""Texts of megabytes: the same tokens as read at once, in a fraction of the memory."""

import random
import subprocess
import sys

import pytest
from transformers import AutoTokenizer

from tunelab.data.examples.twins import EachWord, twin_key, words
from tunelab.data.tokens import encoded, long_texts
from tunelab.data.tokens.encoded import encode_compactly, encode_texts
from tunelab.data.tokens.long_texts import ids_of_long
from tunelab.models.load import EMBEDDED

SMALL = {"window": 600, "overlap": 240}
RANDOM = random.Random(0)
LETTERS = "abcdefghij  \n\t.,'0123456789äß東京語\U0001f600é"
TEXTS = {
    "prose": " ".join(RANDOM.choice(["the", "restaurant", "Nähe", "serves", "12,50", "food."]) for _ in range(900)),
    "letters": "".join(RANDOM.choice(LETTERS) for _ in range(4000)),
    "digits": "".join(RANDOM.choice("0123456789") for _ in range(4000)),
    "blanks": "".join(RANDOM.choice(["a", " " * RANDOM.randint(1, 300)]) for _ in range(60)),
    "no spaces": "".join(RANDOM.choice("東京大学語文字") for _ in range(4000)),
    "emoji": "\U0001f600\u200d\U0001f468" * 700,
    "lines": "\n".join("x" * RANDOM.randint(0, 90) for _ in range(90)),
}
MEMORY = """
import resource, sys
from transformers import AutoTokenizer
from tunelab.data.tokens import encoded
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
tokenizer(["a"], add_special_tokens=False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
text = " ".join(f"word{number % 977} of text" for number in range(1 << 17))
encoded.encode_compactly([text], tokenizer)
print(len(text), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.fixture(params=sorted(EMBEDDED))
def tokenizer(request):
    return AutoTokenizer.from_pretrained(EMBEDDED[request.param])


@pytest.mark.parametrize("name", TEXTS)
def test_windows_give_the_tokens_of_the_whole_text(tokenizer, name):
    text = TEXTS[name]
    (whole,) = tokenizer([text], add_special_tokens=False)["input_ids"]
    found = ids_of_long(text, tokenizer.backend_tokenizer, **SMALL)
    assert len(text) > 3 * SMALL["window"]
    assert found is None or list(found) == whole
    assert found is not None or name == "blanks", "windows of such a text meet"


def test_a_text_whose_windows_never_meet_is_read_at_once(tokenizer, monkeypatch):
    monkeypatch.setattr(encoded, "LONG", 1000)
    monkeypatch.setattr(long_texts, "AGREE", 10**6)
    text = TEXTS["prose"]
    assert ids_of_long(text, tokenizer.backend_tokenizer, **SMALL) is None
    assert encode_texts([text], tokenizer) == tokenizer([text], add_special_tokens=False)["input_ids"]


def test_a_long_text_among_short_ones_is_read_in_windows_and_the_others_are_not(tokenizer, monkeypatch):
    texts = ["", "short", TEXTS["prose"], "a b"]
    expected = tokenizer(texts, add_special_tokens=False)["input_ids"]
    asked = []

    def watched(text, backend):
        asked.append(text)
        return ids_of_long(text, backend, **SMALL)

    monkeypatch.setattr(encoded, "LONG", 1000)
    monkeypatch.setattr(encoded, "ids_of_long", watched)
    assert encode_texts(texts, tokenizer) == expected and asked == [TEXTS["prose"]]
    assert [list(ids) for ids in encode_compactly(texts, tokenizer)] == expected


@pytest.mark.slow
def test_memory_is_a_fraction_of_what_the_tokenizer_takes_of_the_whole(tokenizer):
    command = [sys.executable, "-c", MEMORY, tokenizer.name_or_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    characters, more = map(int, done.stdout.split())
    assert characters > 2_000_000
    assert more < 45 * characters, "read at once it is about 150 bytes a character"


@pytest.mark.parametrize("text", [*TEXTS.values(), "", " ", "a", "サービス x ไทย a"])
def test_words_one_at_a_time_are_those_of_the_list(text):
    key = twin_key(text)
    assert list(EachWord(key, "b c")) == [*words(key), "b", "c"]
    assert len(EachWord(key)) == len(words(key))
