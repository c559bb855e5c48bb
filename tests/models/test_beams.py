"""Beam search of our own: against transformers' `generate` on each prompt alone, against every text there can be, and
how much of a model it asks for."""

from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from tunelab.config.schema import Generation
from tunelab.models import beams, inference, torch_scores
from tunelab.models.choosing import Chooser, Text, best, normalisers
from tunelab.models.configurations import EMBEDDED
from tunelab.models.decoding import Rows
from tunelab.models.growing_cache import GrowingCache
from tunelab.models.torch_rows import rows_of

RESTAURANTS = [
    "name[Blue Spice], eatType[coffee shop], area[city centre]",
    "name[The Punter], eatType[pub], food[Italian], priceRange[high], area[riverside], familyFriendly[yes]",
    "name[Alimentum], area[city centre], familyFriendly[no]",
    "name[Giraffe], eatType[restaurant], food[French], area[riverside], familyFriendly[no], near[Raja Indian Cuisine]",
    "name[Zizzi], priceRange[less than £20]",
    "name[Wildwood], eatType[coffee shop], food[English], priceRange[moderate], customer rating[3 out of 5]",
    "name[The Eagle], food[Chinese], near[Burger King]",
]


@pytest.fixture(scope="module")
def tiny():
    folder = Path(EMBEDDED["tunelab/tiny"])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.generation_config = GenerationConfig()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    asked = [np.array(tokenizer(text).input_ids[:40], dtype=np.int32) for text in RESTAURANTS]
    ends = [
        1,
        *(
            tokenizer(mark, add_special_tokens=False).input_ids[-1]
            for mark in ("]", ",", ".", " of", " [", " the", " a", " and")
        ),
    ]
    return model, asked, ends


def as_arrays(rows: Rows) -> Rows:
    """The same rows, which give their scores as a back end without torch does."""

    class Arrays(type(rows)):
        def join(self, texts):
            return super().join(texts).numpy()

        def step(self):
            return super().step().numpy()

    rows.__class__ = Arrays
    return rows


def searched(rows: Rows, prompts, choose: Chooser, *, max_tokens: int = 1200) -> list[list[int]]:
    texts = [Text(number, prompt, settings=choose.settings, seed=(0, number)) for number, prompt in enumerate(prompts)]
    longest_first, finished = sorted(texts, key=lambda text: -len(text.prompt)), []
    beams.search(
        rows,
        longest_first,
        choose,
        max_tokens=max_tokens,
        told=lambda done, _: finished.extend(text.number for text in done),
    )
    assert sorted(finished) == list(range(len(texts)))
    return [text.new for text in texts]


def by_transformers(model, prompt: np.ndarray, settings: Generation, ends) -> list[int]:
    config = GenerationConfig(
        num_beams=settings.beams,
        max_new_tokens=settings.max_new_tokens,
        min_new_tokens=settings.min_new_tokens or None,
        length_penalty=settings.length_penalty,
        early_stopping=settings.early_stopping,
        eos_token_id=ends,
        pad_token_id=0,
    )
    ids = torch.from_numpy(prompt.astype(np.int64))[None]
    new = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)[0, len(prompt) :].tolist()
    return new[: next((place for place, token in enumerate(new) if token in ends), len(new))]


@pytest.mark.parametrize("early_stopping", [True, False, "never"])
@pytest.mark.parametrize(
    ("num", "length_penalty", "least"),
    [(4, 0.8, 0), *(pytest.param(*rest, marks=pytest.mark.slow) for rest in [(10, 1.0, 0), (4, 2.0, 5), (10, 2.0, 3)])],
)
def test_tensors_and_arrays_give_the_texts_of_transformers(tiny, num, length_penalty, least, early_stopping):
    model, asked, ends = tiny
    settings = Generation(
        beams=num,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
        min_new_tokens=least,
        max_new_tokens=14,
    )
    expected = [by_transformers(model, prompt, settings, ends) for prompt in asked]
    assert len({len(text) for text in expected}) >= 2
    assert searched(rows_of(model, 0), asked, Chooser(settings, ends)) == expected
    assert searched(as_arrays(rows_of(model, 0)), asked, Chooser(settings, ends)) == expected


def test_no_pair_of_new_tokens_comes_twice(tiny):
    model, asked, ends = tiny
    settings = Generation(beams=4, max_new_tokens=14, min_new_tokens=14, no_repeat_ngram=2)
    for text in searched(as_arrays(rows_of(model, 0)), asked, Chooser(settings, ends)):
        assert len(set(pairwise(text))) == 13


def test_texts_that_begin_with_given_tokens_are_those_of_transformers(tiny):
    model, asked, ends = tiny
    settings = Generation(beams=4, max_new_tokens=8, min_new_tokens=3)
    choose = Chooser(settings, ends, [40, 41])
    texts = [Text(number, prompt, settings=settings, seed=(0, number)) for number, prompt in enumerate(asked)]
    for text in texts:
        inference._with_transformers(model, [text], choose, pad=0, max_tokens=1, told=lambda done, count: None)
    expected = [text.new for text in texts]
    assert all(new[:2] == [40, 41] and len(new) > 4 for new in expected)
    assert searched(rows_of(model, 0), asked, choose) == expected
    assert searched(as_arrays(rows_of(model, 0)), asked, choose) == expected


# ------------------------------------------------------------------ a model that is a table


class Table(Rows):
    """The next token's scores are a function of the last one's; without a framework."""

    refills = False

    def __init__(self, scores_VV: np.ndarray) -> None:
        super().__init__()
        self.scores, self.joined, self.widths = scores_VV, [], []

    def join(self, texts):
        assert not self.num_live
        self.texts = list(texts)
        self.joined.append(len(texts))
        self.kept = [[int(text.prompt[-1])] for text in texts]
        return self.scores[[kept[-1] for kept in self.kept]]

    def step(self):
        self.widths.append(len(self.texts))
        for text, kept in zip(self.texts, self.kept, strict=True):
            if text is not None:
                kept.append(text.new[-1])
                assert kept[1:] == text.new, "the row holds another beam's tokens"
        return self.scores[[kept[-1] for kept in self.kept]]

    def gather(self, rows):
        self.kept = [list(self.kept[row]) for row in rows]


def table(vocabulary: int, *, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((vocabulary, vocabulary)) * 1.5).astype(np.float32)


@pytest.mark.parametrize("length_penalty", [0.0, 0.8, 2.0])
def test_with_enough_beams_the_best_of_all_texts_is_found(length_penalty):
    new, vocabulary, end, scores = 4, 4, 3, table(4).astype(np.float64)
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))

    def value(start: int, text: tuple[int, ...]) -> float:
        return sum(logs[pair] for pair in pairwise((start, *text))) / len(text) ** length_penalty

    settings = Generation(
        beams=vocabulary**new, max_new_tokens=new, length_penalty=length_penalty, early_stopping="never"
    )
    found = searched(Table(table(vocabulary)), [np.array([start]) for start in range(3)], Chooser(settings, [end]))
    for start, text in enumerate(found):
        every = [
            text
            for length in range(1, new + 1)
            for text in product(range(vocabulary), repeat=length)
            if end not in text[:-1] and (length == new or text[-1] == end)
        ]
        wanted = max(every, key=lambda one: value(start, one))
        assert text == [token for token in wanted if token != end]


def test_finished_prompts_leave_and_each_goes_through_the_model_once():
    rows, settings = Table(table(30)), Generation(beams=3, max_new_tokens=20, early_stopping=True)
    texts = searched(
        rows, [np.array([start]) for start in range(20)], Chooser(settings, [4, 5, 6]), max_tokens=3 * 21 * 10
    )
    assert rows.joined == [10, 10]
    assert len({len(text) for text in texts}) > 3
    assert max(rows.widths) == 30 and min(rows.widths) < 15


def test_waiting_prompts_take_the_places_of_finished_ones(tiny):
    model, asked, ends = tiny
    settings = Generation(beams=3, max_new_tokens=14, early_stopping=True)
    joins, rows = [], rows_of(model, 0)
    join = rows.join
    rows.join = lambda texts: joins.append((rows.num_live, len(texts))) or join(texts)
    together = searched(rows, asked * 2, Chooser(settings, ends), max_tokens=3 * 54 * 4)
    assert any(live for live, _ in joins) and sum(count for _, count in joins) == 14
    assert together == searched(rows_of(model, 0), asked, Chooser(settings, ends), max_tokens=10_000) * 2


def test_a_beam_that_is_gone_on_with_keeps_its_row(tiny, monkeypatch):
    model, asked, ends = tiny
    moved, rows = [], rows_of(model, 0)
    reorder = GrowingCache.reorder
    monkeypatch.setattr(GrowingCache, "reorder", lambda self, rows: moved.append(list(rows)) or reorder(self, rows))
    searched(rows, asked, Chooser(Generation(beams=4, max_new_tokens=14), ends), max_tokens=10_000)
    for sources in moved:
        copied = {place for place, source in enumerate(sources) if place != source}
        assert copied and not copied & set(sources), "a row that is copied from is still where it was"


@pytest.mark.parametrize("vocabulary", [7, 50, 5003])
@pytest.mark.parametrize("hidden", [0, 3], ids=["all", "few finite"])
def test_the_best_sums_are_those_of_sorting_everything(vocabulary, hidden):
    logs = np.random.default_rng(3).standard_normal((6, vocabulary)).astype(np.float32)
    if hidden:
        logs[:, hidden:] = -np.inf
    running = np.array([0, -1, -2, 0, -1e9, -1e9], dtype=np.float32)
    sums = (torch.log_softmax(torch.from_numpy(logs), -1).numpy() + running[:, None]).reshape(2, -1)
    wanted = np.sort(sums, axis=1)[:, ::-1][:, :9]
    for kind in (np.asarray, torch.from_numpy):
        given = kind(logs.copy())
        scores, places = best(given, normalisers(given), running, beams=3, count=9)
        assert np.allclose(scores, wanted, rtol=1e-6)
        assert np.allclose(np.take_along_axis(sums, places, 1), wanted, rtol=1e-6)
        assert all(len(set(row.tolist())) == 9 for row in places)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_a_row_of_scores_can_stand_for_all_beams_of_a_prompt(kind):
    logs = np.random.default_rng(5).standard_normal((2, 400)).astype(np.float32)
    running = np.array([0, -1, -2, -3, 0, -2], dtype=np.float32)
    found = []
    for given in (logs, np.repeat(logs, 3, axis=0)):
        scores = kind(given.copy())
        found.append(best(scores, normalisers(scores), running, beams=3, count=9))
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one, other)


def test_normalisers_are_those_of_log_softmax_whatever_is_looked_at_at_a_time(monkeypatch):
    scores = torch.from_numpy(np.random.default_rng(6).standard_normal((7, 900)).astype(np.float32) * 4)
    for cached in (1, 2000, 1 << 18):
        monkeypatch.setattr(torch_scores, "CACHED", cached)
        less = normalisers(scores)
        found = scores - less.highest[:, None] - less.log_sum[:, None]
        assert torch.allclose(found, torch.log_softmax(scores, -1), atol=1e-6)


def test_scores_that_are_no_numbers_stop_no_search():
    scores = table(9)
    scores[2, 5] = np.nan
    settings = Generation(beams=3, max_new_tokens=4)
    texts = searched(Table(scores), [np.array([2]), np.array([3])], Chooser(settings, [1]))
    assert len(texts[1]) > 0


def test_more_ends_than_tokens_leave_no_candidate_out():
    settings = Generation(beams=2, max_new_tokens=3)
    assert searched(Table(table(3)), [np.array([0])], Chooser(settings, [0, 1, 2])) == [[]]
