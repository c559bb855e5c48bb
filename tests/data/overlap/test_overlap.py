"""Rows of one split that also stand in another, exactly or nearly: here of test in train."""

import random

import pytest

from tunelab.data.overlap.near_rows import SIMILARITY, WORDS, NearRows, grams_of
from tunelab.data.overlap.overlap import KnownRows, Overlap, OverlapFinder, watch
from tunelab.data.overlap.pairs import TEST_TRAIN, pair_notes
from tunelab.records import Example

TRAIN = [Example("1", "Where is it?", "Here."), Example("2", "Who?", "Me.")]
LONG = "one two three four five six seven eight nine ten " * 2 + "and some more words that end this sentence here"


def find_overlap(train, test) -> Overlap:
    finder = OverlapFinder(KnownRows(test))
    for _ in watch(train, [finder], remove=False):
        pass
    return finder.overlap()


def numbers(overlap: Overlap, *names: str) -> tuple:
    named = overlap.named(known="test", other="train")
    return tuple(named[f"num_{name}"] for name in names)


def test_case_and_whitespace_do_not_count():
    test = [
        Example("a", "where  IS\nit?", "here. ", ("here. ",)),
        Example("b", "Where is it?", "There.", ("There.",)),
        Example("c", "Who?", "You.", ("You.", "me.")),
        Example("d", "Why?", "Here.", ("Here.",)),
    ]
    overlap = find_overlap(TRAIN, test)
    assert numbers(overlap, "test", "same_row", "same_prompt", "train_same_row") == (4, 2, 3, 2)
    assert overlap.share_same_row == 0.5


def test_plain_text_has_no_prompts_to_share():
    texts = [Example("1", "", "One."), Example("2", "", "Two.")]
    overlap = find_overlap(texts, [Example("a", "", "one."), Example("b", "", "Three.")])
    assert numbers(overlap, "test", "same_row", "same_prompt") == (2, 1, None)


def test_train_prompt_and_target_are_compared_apart():
    assert find_overlap([Example("1", "a b", "c")], [Example("2", "a", "b c")]).num_same_row == 0


def test_a_row_with_a_word_more_is_near_and_not_the_same():
    train = [Example("1", "p", LONG + " indeed"), Example("2", "p", LONG.replace("and", "or").replace("some", "a"))]
    overlap = find_overlap(train, [Example("a", "p", LONG)])
    assert numbers(overlap, "same_row", "near_row", "train_same_row", "train_near_row") == (0, 1, 0, 1)
    overlap = find_overlap([*train, Example("3", "P", LONG)], [Example("a", "p", LONG)])
    assert numbers(overlap, "same_row", "near_row", "train_same_row", "train_near_row") == (1, 0, 1, 1)


def test_removal_takes_rows_out_of_train_and_says_how_many():
    rows = [Example("1", "p", LONG), Example("2", "p", LONG + " indeed"), Example("3", "p", "other")]
    finder = OverlapFinder(KnownRows([Example("a", "p", LONG)]))
    assert [example.id for example in watch(rows, [finder], remove=True)] == ["3"]
    assert pair_notes(TEST_TRAIN, finder.overlap(), removed=True) == [
        "train: 2 of 3 rows removed: 1 are test rows, 1 nearly are"
    ]


def test_repeated_rows_of_train_are_counted_but_for_the_first():
    rows = [Example("1", "p", "t"), Example("2", "P ", "T"), Example("3", "q", "t"), Example("4", "p", "t")]
    assert numbers(find_overlap(rows, [Example("a", "x", "y")]), "train_duplicates") == (2,)


def test_every_source_has_its_own_counts():
    train = [Example("1", "p", "t", source="a"), Example("2", "p", "t", source="a"), Example("3", "q", "t", source="b")]
    test = [Example("4", "p", "t", source="a"), Example("5", "z", "t", source="b"), Example("6", "q", "t", source="c")]
    finder = OverlapFinder(KnownRows(test))
    assert len(list(watch(train, [finder], remove=False))) == 3
    shown = {
        name: numbers(one, "test", "same_row", "train", "train_same_row", "train_duplicates")
        for name, one in finder.by_source().items()
    }
    assert shown == {"a": (1, 1, 2, 2, 1), "b": (1, 0, 1, 1, 0), "c": (1, 1, 0, 0, 0)}
    assert find_overlap(train, test) == finder.overlap()


def test_above_one_percent_it_is_loud():
    rows = [Example(str(number), f"p{number}", f"t{number}") for number in range(200)]
    test = [Example(f"t{number}", f"x{number}", "y") for number in range(200)]
    assert pair_notes(TEST_TRAIN, find_overlap(rows, [*test[2:], *rows[:2]]), removed=False) == []
    (note,) = pair_notes(TEST_TRAIN, find_overlap(rows, rows), removed=False)
    assert note.startswith("WARNING test: 200 of 200 test examples (100.0%) are rows of train: scores measure memory")
    test = [Example(str(number), f"p{number}", f"{LONG} x{number}") for number in range(3)]
    train = [Example(str(number), f"p{number}", f"{LONG} x{number} more") for number in range(3)]
    (note,) = pair_notes(TEST_TRAIN, find_overlap(train, test), removed=False)
    assert note.startswith("WARNING test: 3 of 3 test examples (100.0%) are nearly rows of train (at least 80%")


CJK = {
    "Chinese": "今天上午我们在城里的老磨坊旁边见到了那位写诗的邻居，他说河水涨得很高，桥已经不能走了，"
    "请大家从北边的小路绕过去。",
    "Japanese": "今朝わたしたちは町の古い水車小屋のそばで詩を書く隣人に会い、川の水がとても高くて"
    "橋を渡れないと聞きました。北の道を通ってください。",
    "Thai": "เมื่อเช้านี้เราพบเพื่อนบ้านที่เขียนบทกวีใกล้โรงสีเก่าในเมืองเขาบอกว่าน้ำในแม่น้ำสูงมากและข้ามสะพานไม่ได้",
    "Korean": "오늘아침우리는마을의오래된물레방앗간옆에서시를쓰는이웃을만났는데강물이너무높아서"
    "다리를건널수없다고했으니북쪽길로돌아가십시오",
    "Tibetan": "ང་ཚོས་དེ་རིང་གྲོང་ཁྱེར་གྱི་ཆུ་འཁོར་རྙིང་པའི་འགྲམ་ནས་སྙན་ངག་འབྲི་མཁན་གྱི་ཁྱིམ་མཚེས་དེ་ཐུག་བྱུང་ཁོས་ཆུ་ཆེན་པོ་ཡོད་ཟེར་བ་རེད་",
}


@pytest.mark.parametrize("language", CJK)
def test_near_rows_are_found_where_no_space_tells_words_apart(language):
    text = CJK[language]
    changed, other = text[:-2] + text[1], text[::-1]
    train = [Example("1", "", changed), Example("2", "", other)]
    overlap = find_overlap(train, [Example("a", "", text)])
    assert numbers(overlap, "same_row", "near_row", "train_near_row") == (0, 1, 1)


def jaccard(one: list[str], other: list[str]) -> float:
    sets = [{tuple(row[place : place + WORDS]) for place in range(len(row) - WORDS + 1)} for row in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1]) if sets[0] | sets[1] else 0.0


@pytest.mark.parametrize("seed", range(20))
def test_near_rows_are_those_of_the_definition(seed):
    made = random.Random(seed)
    words = [f"w{number}" for number in range(made.choice([2, 30, 500]))]
    bases = [made.choices(words, k=made.randrange(1, 120)) for _ in range(6)]

    def row() -> list[str]:
        changed = list(made.choice(bases))
        for _ in range(made.randrange(4)):
            changed[made.randrange(len(changed))] = made.choice(words)
        return changed[: len(changed) - made.randrange(3)] + made.choices(words, k=made.randrange(3))

    indexed, looked_for = [row() for _ in range(40)], [row() for _ in range(60)]
    expected = [
        tuple(number for number, other in enumerate(indexed) if jaccard(one, other) >= SIMILARITY) for one in looked_for
    ]
    assert NearRows(indexed).find(grams_of(looked_for)) == expected
    assert any(expected)


@pytest.mark.slow
def test_the_e2e_split_shares_no_meaning(shared):
    from tunelab.tasks.e2e_nlg import E2eNlg

    task = E2eNlg(path=shared / "data/e2e_nlg")
    overlap = find_overlap(task.examples("train"), task.examples("test"))
    assert numbers(overlap, "test", "same_row", "near_row", "same_prompt", "train") == (630, 0, 0, 0, 42061)
