"""The restaurant task: many forms, splits that share nothing, several references, values found in the text."""

import re
from statistics import mean

import pytest
from rouge_score import rouge_scorer

from tunelab.data.synthetic import pretraining, restaurant_wording, restaurants
from tunelab.data.synthetic.draw import generator


def sentences(text):
    return [sentence for sentence in re.split(r"(?<=[.!?])\s+|\n+", text) if sentence]


@pytest.fixture(scope="module")
def train():
    return restaurants.rows(split="train", n=2000, seed=0)


@pytest.fixture(scope="module")
def held_out():
    return restaurants.rows(split="test", n=900, seed=0)


def test_one_meaning_has_at_least_200_surface_forms(held_out):
    meaning = max((row["meaning"] for row in held_out), key=len)
    facts = restaurants.parse(meaning)
    assert len({restaurant_wording.describe(facts, generator("form", number)) for number in range(600)}) >= 200


def test_rows_have_at_least_200_delexicalised_forms(train):
    assert len({restaurants.delexicalise(row["text"]) for row in train}) >= 200


def test_combinations_of_a_split_occur_in_no_other(train, held_out):
    validation = restaurants.rows(split="validation", n=900, seed=5)
    seen = [
        {restaurants.combination(restaurants.parse(row["meaning"])) for row in rows}
        for rows in (train, held_out, validation)
    ]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]


def test_some_names_occur_in_test_only(train, held_out):
    train_names = {restaurants.parse(row["meaning"])["name"] for row in train}
    test_names = {restaurants.parse(row["meaning"])["name"] for row in held_out}
    assert not any(map(restaurants.is_test_only, train_names))
    assert sum(map(restaurants.is_test_only, test_names)) > 0.1 * len(test_names)


def test_three_consecutive_test_rows_share_a_meaning(held_out):
    for start in range(0, 900, 3):
        assert len({row["meaning"] for row in held_out[start : start + 3]}) == 1


def test_meanings_show_three_to_eight_slots_in_varying_order(train):
    orders = {tuple(restaurants.parse(row["meaning"])) for row in train}
    assert {len(order) for order in orders} == set(range(3, 9))
    assert {slot for order in orders for slot in order} == set(restaurants.SLOTS)
    assert len({order[0] for order in orders}) == len(restaurants.SLOTS)


@pytest.mark.parametrize("slot", ["name", "dish", "near", "rating"])
def test_text_names_the_value_of_each_open_slot(train, slot):
    for row in train:
        value = restaurants.parse(row["meaning"]).get(slot)
        assert value is None or value in row["text"], row


def test_wording_of_price_depends_on_the_rating():
    facts = {"name": "The Tin Cup", "kind": "diner", "price": "high", "rating": "5 of 5"}
    texts = [restaurant_wording.describe(facts, generator(number)) for number in range(200)]
    assert any("worth every penny" in text for text in texts)
    assert not any("overpriced" in text for text in texts)


def test_references_agree_enough_but_not_fully(held_out):
    scorer = rouge_scorer.RougeScorer(["rougeL"])
    scores = [
        scorer.score_multi([held_out[at + 1]["text"], held_out[at + 2]["text"]], held_out[at]["text"])[
            "rougeL"
        ].fmeasure
        for at in range(0, 900, 3)
    ]
    assert 0.5 < mean(scores) < 0.75


def test_pretraining_text_shares_no_sentence_form(train):
    task = {restaurants.delexicalise(sentence) for row in train for sentence in sentences(row["text"])}
    general = {restaurants.delexicalise(s) for text in pretraining.documents(n=2000, seed=0) for s in sentences(text)}
    general |= {
        restaurants.delexicalise(s) for pair in pretraining.pairs(n=1500, seed=0) for s in sentences(pair["target"])
    }
    assert len(task) > 500
    assert not task & general
