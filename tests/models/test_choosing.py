"""The same scores as a tensor and as an array: the same tokens; and neither choosing nor the loop needs torch."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from tunelab.config.schema import Generation
from tunelab.models.choosing import Chooser, Text, completing, draw, narrow
from tunelab.models.decoding import Rows, decode

VOCABULARY, ENDS = 300, [1, 7, 299]
SETTINGS = [
    {},
    {"min_new_tokens": 3},
    {"no_repeat_ngram": 2, "min_new_tokens": 4},
    {"temperature": 0.7},
    {"temperature": 1.3, "top_k": 5},
    {"temperature": 1.3, "top_k": VOCABULARY + 1},
    {"temperature": 1.0, "top_p": 0.6},
    {"temperature": 0.5, "top_k": 40, "top_p": 0.9, "no_repeat_ngram": 2, "min_new_tokens": 2},
]


def texts_of(settings: Generation, count: int, *, longest: int = 6) -> list[Text | None]:
    """Of few different tokens, so that pairs come again; every fifth place is free."""
    generator, texts = np.random.default_rng(1), []
    for number in range(count):
        text = Text(number, np.array([2]), settings=settings, seed=(0, number))
        text.new = generator.integers(2, 5, size=generator.integers(0, longest)).tolist()
        texts.append(None if number % 5 == 4 else text)
    return texts


def scores_of(count: int, *, spread: float = 3.0) -> np.ndarray:
    generator = np.random.default_rng(2)
    return (generator.standard_normal((count, VOCABULARY)) * spread).astype(np.float32)


@pytest.mark.parametrize("first", [(), (9,), (9, 11)], ids=str)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_tensors_and_arrays_of_the_same_scores_choose_the_same_tokens(settings, first):
    settings = Generation(max_new_tokens=16, **settings)
    choose, texts = Chooser(settings, ENDS, first), texts_of(settings, 400)
    by_torch = choose(torch.from_numpy(scores_of(400)), texts)
    by_numpy = choose(scores_of(400), texts)
    assert by_torch == by_numpy
    assert all(type(token) is int for token in by_numpy)
    assert len(set(by_numpy)) > 20 or settings.top_k == 5


@pytest.mark.parametrize("settings", SETTINGS[3:], ids=str)
def test_the_same_tokens_are_left_to_draw_from(settings):
    settings = Generation(**settings)
    left = narrow(scores_of(200), settings)
    expected = narrow(torch.from_numpy(scores_of(200)), settings).numpy()
    assert (np.isfinite(left) == np.isfinite(expected)).all()
    assert np.allclose(left, expected, rtol=1e-6)
    assert left.dtype == np.float32


def test_the_rule_forbids_the_same_in_place():
    choose = Chooser(Generation(min_new_tokens=3, no_repeat_ngram=2), ENDS, [9])
    texts = texts_of(choose.settings, 50)
    new = [None if text is None else text.new for text in texts]
    array, tensor = scores_of(50), torch.from_numpy(scores_of(50))
    assert choose.rule(array, new) is array
    assert choose.rule(tensor, new) is tensor
    assert np.array_equal(array, tensor.numpy())
    assert np.isneginf(array).any() and not np.array_equal(array, scores_of(50))


@pytest.mark.parametrize(("least", "first"), [(0, ()), (3, ()), (0, (9, 11)), (2, (9, 11))])
def test_the_least_number_of_tokens_is_counted_behind_those_that_a_text_begins_with(least, first):
    choose = Chooser(Generation(min_new_tokens=least), ENDS, first)
    new = [[*first, 5, 5, 5, 5, 5, 5][:length] for length in range(7)]
    scores = choose.rule(np.zeros((7, VOCABULARY), dtype=np.float32), new)
    assert [bool(np.isneginf(row[ENDS]).all()) for row in scores] == [
        length < least + len(first) for length in range(7)
    ]
    for length, row in enumerate(scores):  # what a text begins with is the one token that may come
        possible = np.flatnonzero(~np.isneginf(row))
        assert (possible.tolist() == [first[length]]) if length < len(first) else len(possible) > 200


@pytest.mark.parametrize(
    ("new", "size", "forbidden"),
    [
        ([2, 9, 4, 5, 4], 2, [5]),  # 4 5 is there
        ([9, 4, 5], 2, []),  # 5 was followed by nothing yet
        ([1, 2, 3, 1, 2], 3, [3]),
        ([1, 2, 3, 1, 2, 4, 1, 2], 3, [3, 4]),
        ([2, 2, 2], 2, [2, 2]),
        ([1, 2], 3, []),  # shorter than an n-gram
        ([], 1, []),
        ([3, 4], 1, [3, 4]),
    ],
)
def test_tokens_that_would_complete_an_ngram_for_the_second_time_by_hand(new, size, forbidden):
    assert completing(new, size) == forbidden


def test_an_array_never_draws_what_has_no_probability():
    scores = np.array([[-np.inf, 0.0, -np.inf, 0.0, -np.inf]], dtype=np.float32)
    assert [draw(scores, [number])[0] for number in (0.0, 0.4999, 0.5, 1 - 1e-16)] == [1, 1, 3, 3]


class _Adding(Rows):
    """A model without a framework: the likeliest token is one more than the last."""

    refills = False

    def join(self, texts):
        self.texts = list(texts)
        return self._scores([int(text.prompt[-1]) for text in texts])

    def step(self):
        return self._scores([0 if text is None else text.new[-1] for text in self.texts])

    def gather(self, rows):
        pass

    def _scores(self, last):
        return np.eye(12, dtype=np.float32)[[token + 1 for token in last]]


def test_the_loop_writes_texts_of_a_model_without_a_framework():
    settings = Generation(max_new_tokens=4)
    texts = [
        Text(number, np.array([start]), settings=settings, seed=(0, number)) for number, start in enumerate([3, 7])
    ]
    told = []
    decode(
        _Adding(), texts, Chooser(settings, [10]), max_tokens=100, told=lambda done, count: told.append((done, count))
    )
    assert [text.new for text in texts] == [[4, 5, 6, 7], [8, 9]]
    assert [count for _, count in told] == [2, 2, 2, 1]
    assert [[text.number for text in done] for done, _ in told] == [[], [], [1], [0]]


WITHOUT_TORCH = """
import sys

class Refuses:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refuses())
import numpy as np
from tunelab.config.schema import Generation
from tunelab.models import beams, choosing, decoding
settings = Generation(temperature=0.7, top_k=3, top_p=0.9, no_repeat_ngram=2)
texts = [choosing.Text(0, np.array([2]), settings=settings, seed=(0, 0))]
scores = np.array([[0.0, 9.0, -9.0]], dtype=np.float32)
print(choosing.Chooser(settings, [2])(scores, texts), "torch" in sys.modules)
"""


@pytest.mark.slow
def test_choosing_and_the_loop_are_there_without_torch():
    run = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False)
    assert run.stdout == "[1] False\n", run.stderr
