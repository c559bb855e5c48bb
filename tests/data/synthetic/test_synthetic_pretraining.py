"""The pretraining text: stable, varied, and without torch."""

import hashlib
import re
import subprocess
import sys
from itertools import islice
from statistics import mean

import pytest

from tunelab.data.synthetic import pretraining
from tunelab.data.synthetic.draw import generator
from tunelab.data.synthetic.genres import dialogues, lists, news, portraits, records, stories, sums

GENRES = [dialogues, lists, news, portraits, records, stories, sums]


@pytest.fixture(scope="module")
def documents():
    return pretraining.documents(n=3000, seed=0)


def test_fewer_documents_are_a_prefix_of_more(documents):
    assert pretraining.documents(n=20, seed=0) == documents[:20]
    assert pretraining.pairs(n=20, seed=0) == pretraining.pairs(n=50, seed=0)[:20]


def test_iteration_can_begin_anywhere(documents):
    assert list(islice(pretraining.iterate(seed=0, start=100), 5)) == documents[100:105]


def test_first_document_never_changes():
    """A change here means that tokenizers and weights no longer belong to the text they were made from."""
    text = "\0".join(pretraining.documents(n=200, seed=0))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "5e26d01985061cf8"


def test_documents_use_thousands_of_words(documents):
    words = {word for text in documents for word in re.findall("[a-z]+", text.lower())}
    assert len(words) > 4000
    assert 60 < mean(len(text.split()) for text in documents) < 150


def test_documents_hold_no_unfilled_hole(documents):
    assert not [text for text in documents if "{" in text or "}" in text]


@pytest.mark.parametrize("genre", GENRES)
def test_every_kind_of_text_varies(genre):
    texts = [genre.document(generator("varies", number)) for number in range(200)]
    assert len(set(texts)) == 200


def test_record_prose_says_every_value():
    for number in range(500):
        made = records.record(generator("record", number))
        for value in made.facts.values():
            assert value.lower() in made.prose.lower().replace(" an ", " a "), made


def test_pair_sources_are_short_and_nothing_is_empty():
    for pair in pretraining.pairs(n=2000, seed=0):
        assert pair["source"].strip() and pair["target"].strip()
        assert len(pair["source"].split()) <= 80


@pytest.mark.slow
def test_generating_text_needs_no_torch():
    code = "import sys; from tunelab.data.synthetic import pretraining as p; p.documents(n=3, seed=0); "
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
