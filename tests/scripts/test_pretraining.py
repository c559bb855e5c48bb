"""The text that the embedded models are pretrained on: how it is cut, what is taken out of it, what is looked for."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def corpus(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module("pretraining_corpus")
    for name in ("pretraining_corpus", "pretraining_overlap"):
        sys.modules.pop(name, None)


def test_passages_hold_every_word_and_are_no_longer_than_asked(corpus):
    paragraphs = [f"Paragraph {number}. " + "It goes on and on. " * number for number in range(120)]
    found = list(corpus.passages(paragraphs))
    assert " ".join(found).split() == " ".join(paragraphs).split()
    assert max(map(len, found)) <= corpus.PASSAGE


def test_a_book_is_read_without_project_gutenbergs_words(corpus):
    begin = "Project Gutenberg's\nlegal\n*** START OF THIS PROJECT GUTENBERG EBOOK X ***\n"
    text = f"{begin}Call me Ishmael.\nwww.gutenberg.net\nThe sea."
    assert corpus.book(text) == ["Call me Ishmael.\nThe sea."]


def test_what_is_taken_out_and_what_is_left_are_the_text(corpus):
    rng = np.random.default_rng(0)
    for number in range(2, 200):
        words = [f"w{place}" for place in range(number)]
        pair = corpus.spans(" ".join(words), rng)
        taken = dict(re.findall(r"(<extra_id_\d+>) ((?:w\d+ ?)+)", pair["target"] + " "))
        put_back = re.sub(r"<extra_id_\d+>", lambda found, taken=taken: taken[found[0]].strip(), pair["source"])
        assert put_back.split() == words
        assert taken and len(taken) <= corpus.SENTINELS
    long = corpus.spans(" ".join(["word"] * 400), np.random.default_rng(1))
    assert 30 < long["target"].count("word") < 90, "about 15 % of 400"


def test_shared_runs_are_counted_by_row(corpus):
    overlap = importlib.import_module("pretraining_overlap")
    train = [" ".join(f"t{place}" for place in range(40)), "short"]
    inside = "new " + " ".join(f"t{place}" for place in range(5, 5 + overlap.RUN)) + " end"
    almost = " ".join(f"t{place}" for place in range(5, 4 + overlap.RUN)) + " end and more words so that it is long"
    assert overlap.shared_runs(train, [("one", [inside, almost, "t1 t2"]), ("none", [almost])]) == {"one": 1, "none": 0}


def test_what_is_held_out_is_not_trained_on(corpus, shared):
    held_out = corpus.held_out(shared / "data")
    trained = {text for source in corpus.sources(shared / "data") if source.name != "books" for text in source.passages}
    assert set(held_out) == {"wikitext", "tinystories", "e2e"}
    for texts in held_out.values():
        assert len(texts) > 100 and not trained & set(texts)
