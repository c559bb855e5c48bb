"""Rows held out for validation, and samples."""

import hashlib
import random

import numpy as np
import pytest

from tunelab.data.examples import splits
from tunelab.data.examples.splits import (
    MAX_VALIDATION_ROWS,
    VALIDATION_SEED,
    VALIDATION_SHARE,
    draw,
    held_out,
    split_validation,
)
from tunelab.errors import DataError
from tunelab.records import Example


def examples(num_rows: int, *, num_prompts: int | None = None) -> list[Example]:
    return [
        Example(f"train-{row:06d}", f"prompt {row % (num_prompts or num_rows)}", f"target {row}")
        for row in range(num_rows)
    ]


@pytest.mark.parametrize(("num_rows", "held_out"), [(2, 1), (10, 1), (100, 10), (4000, 400), (6000, 500)])
def test_a_tenth_at_most_500_and_at_least_1(num_rows, held_out):
    result = split_validation(examples(num_rows))
    assert (len(result.train), len(result.validation)) == (num_rows - held_out, held_out)
    assert sorted([*result.train, *result.validation]) == examples(num_rows)
    assert list(result.train) == sorted(result.train)


def test_rows_with_one_prompt_stay_on_one_side():
    result = split_validation(examples(300, num_prompts=40))
    sides = [{example.prompt for example in side} for side in result]
    assert not sides[0] & sides[1]
    assert 20 < len(result.validation) <= 30


def test_no_twin_of_a_validation_row_stays_in_train():
    spellings = ("café {}", "CAFÉ {}", " café\n{}", "cafe\u0301 {}")
    rows = [Example(f"{n}-{m}", text.format(n), "t") for n in range(20) for m, text in enumerate(spellings)]
    result = split_validation(rows)
    sides = [{example.id.split("-")[0] for example in side} for side in result]
    assert not sides[0] & sides[1]
    assert (len(result.train), len(result.validation)) == (72, 8)


def test_twins_of_plain_text_stay_on_one_side():
    rows = [Example(f"{n}-{m}", m * " ", text) for n in range(20) for m, text in enumerate(("Text %d", "text  %d"))]
    rows = [example._replace(target=example.target % int(example.id.split("-")[0])) for example in rows]
    sides = [{example.id.split("-")[0] for example in side} for side in split_validation(rows)]
    assert sides[1] and not sides[0] & sides[1]


def test_twins_of_some_rows_leave_the_draw_of_the_others_as_it_was():
    alone = [Example(f"{row}", f"Prompt {row}", "t") for row in range(100)]
    before = [example.id for example in split_validation(alone).validation]
    twins = [Example(f"twin {row}", f"prompt  {row}", "t") for row in (3, 50)]
    assert [example.id for example in split_validation([*alone, *twins]).validation] == before


def test_the_same_rows_are_drawn_whatever_their_order():
    forwards, backwards = examples(200), examples(200)[::-1]
    assert set(split_validation(forwards).validation) == set(split_validation(backwards).validation)


def test_drawn_rows_never_change():
    expected = ["train-000009", "train-000022", "train-000026", "train-000027"]
    assert [example.id for example in split_validation(examples(40)).validation] == expected


def test_few_large_groups_still_give_a_validation_split():
    result = split_validation(examples(10, num_prompts=2))
    assert (len(result.train), len(result.validation)) == (5, 5)


def test_plain_text_is_kept_together_by_its_text():
    texts = [Example(str(row), "", f"text {row % 5}") for row in range(20)]
    result = split_validation(texts)
    assert not {example.target for example in result.train} & {example.target for example in result.validation}


@pytest.mark.parametrize("rows", [[], examples(1), examples(5, num_prompts=1)])
def test_one_prompt_cannot_be_split(rows):
    with pytest.raises(DataError, match="holding rows out for validation needs at least 2: add rows, or give"):
        split_validation(rows)


def test_a_smaller_draw_is_part_of_a_larger_one_in_the_given_order():
    small, large = (draw(range(1000), n=n, seed=3) for n in (10, 100))
    assert set(small) < set(large)
    assert list(small) == sorted(small)
    assert small != draw(range(1000), n=10, seed=4)
    assert list(draw(range(3), n=5, seed=0)) == list(draw(range(3), n=None, seed=0)) == [0, 1, 2]


@pytest.mark.parametrize("seed", range(5))
def test_held_out_texts_without_twins_are_those_of_a_draw(seed):
    texts = [f"Text {number}" for number in range(300)]
    assert list(held_out(texts, n=30, seed=seed).nonzero()[0]) == list(draw(range(300), n=30, seed=seed))


def test_twins_are_held_out_together_and_no_more_than_were_wanted():
    texts = [text for number in range(40) for text in (f"Text {number}", f"text  {number}", f"TEXT {number}")]
    mask = held_out(texts, n=20, seed=0)
    assert mask.sum() == 18
    assert all(len(set(mask[start : start + 3])) == 1 for start in range(0, 120, 3))
    assert list(held_out(["a", "A", "b", "B", "B "], n=1, seed=0)) == [True, True, False, False, False]
    with pytest.raises(
        DataError, match=r"3 rows that are equal \(case and white space aside\): none of them can be he"
    ):
        held_out(["a", "A", " a"], n=1, seed=0)


def straightforward_split(rows: list[Example]) -> set[str]:
    """The ids held out, by the definition: whole digests, sorted lists."""
    groups: dict[str, list[str]] = {}
    for example in rows:
        groups.setdefault(example.prompt or example.target, []).append(example.id)
    wanted = min(MAX_VALIDATION_ROWS, max(1, int(len(rows) * VALIDATION_SHARE)))
    held_out: set[str] = set()
    for prompt in sorted(groups, key=lambda prompt: hashlib.sha256(f"{VALIDATION_SEED}\n{prompt}".encode()).digest()):
        if len(held_out) + len(groups[prompt]) <= wanted:
            held_out.update(groups[prompt])
    return held_out or set(min(groups.values(), key=len))


@pytest.mark.parametrize("seed", range(30))
def test_index_arrays_choose_the_rows_of_the_straightforward_algorithm(seed):
    made = random.Random(seed)
    num_rows = made.choice([2, 5, 30, 400, 7000])
    num_prompts = max(2, made.choice([2, 3, num_rows // 3, num_rows]))
    sizes = made.choice([lambda: made.randrange(num_prompts), lambda: int(num_prompts * made.random() ** 3)])
    rows = [Example(f"{row:06d}", "", f"{sizes()}") for row in range(num_rows - 2)]
    rows += [Example(f"{row:06d}", f"prompt {row}", "t") for row in (num_rows - 2, num_rows - 1)]
    result = split_validation(rows)
    assert {example.id for example in result.validation} == straightforward_split(rows)
    assert len(result.train) + len(result.validation) == num_rows

    n = made.randrange(1, num_rows)
    digests = sorted(range(num_rows), key=lambda row: hashlib.sha256(f"{seed}\n{row}".encode()).digest())
    assert list(draw(rows, n=n, seed=seed)) == [rows[row] for row in sorted(digests[:n])]


def test_a_draw_is_the_lowest_hashes_and_made_once_in_a_process(monkeypatch):
    rows = [f"row {number}" for number in range(3000)]
    hashes = [hashlib.sha256(f"11\n{number}".encode()).hexdigest() for number in range(3000)]
    wanted = sorted(sorted(range(3000), key=lambda number: hashes[number])[:200])
    assert list(draw(rows, n=200, seed=11)) == [rows[number] for number in wanted]
    monkeypatch.setattr(splits, "sha256", None)
    assert list(draw(rows, n=200, seed=11)) == [rows[number] for number in wanted]


def test_a_group_stands_where_its_one_spelling_or_what_its_spellings_share_puts_it():
    def digest(text):
        return int(hashlib.sha256(f"{VALIDATION_SEED}\n{text}".encode()).hexdigest()[:16], 16)

    prompts = ["A b", "c", "a  B", "D", "D", "e", "E", "e", "ｆ", "f"]
    found = splits._groups([Example("", prompt, "") for prompt in prompts])
    wanted = ["a b", "c", "a b", "D", "D", "e", "e", "e", "f", "f"]
    assert found.tolist() == [digest(text) for text in wanted]
    assert splits._groups([]).tolist() == []


def test_the_shipped_places_are_those_of_the_lowest_hashes():
    keys = splits.place_keys(splits.SHIPPED_SEED, np.arange(splits.SHIPPED_PLACES))
    assert splits.low_places().tolist() == np.flatnonzero(keys < 2**64 // splits.SHIPPED_SHARE).tolist()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("count", [3_001, 12_000, 25_000])
def test_a_draw_of_a_large_file_is_that_of_all_hashes(count, seed, monkeypatch):
    """The shipped places end at 20,000 here, so that a file may be longer."""
    low = splits.low_places()
    low = low[low < 20_000]
    monkeypatch.setattr(splits, "low_places", lambda: low)
    monkeypatch.setattr(splits, "SHIPPED_PLACES", 20_000)
    monkeypatch.setattr(splits, "SHIPPED_LEAST", 3_000)
    splits._drawn.cache_clear()
    order = sorted(range(count), key=lambda place: hashlib.sha256(f"{seed}\n{place}".encode()).digest())
    enough = int((low < count).sum())
    for n in (1, enough // 2, enough, enough + 1, enough + 100, count - 1):
        assert list(draw(range(count), n=n, seed=seed)) == sorted(order[:n])
    splits._drawn.cache_clear()


def test_few_rows_of_a_million_are_drawn_without_hashing_all(monkeypatch):
    hashed = []
    held = splits.place_keys
    monkeypatch.setattr(splits, "place_keys", lambda seed, places: hashed.append(len(places)) or held(seed, places))
    splits._drawn.cache_clear()
    draw(range(1_000_000), n=5_000, seed=0)
    assert hashed[0] < 40_000
