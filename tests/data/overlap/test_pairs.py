"""All three pairs of splits: what is counted, said and removed."""

import pytest

from tunelab.data.overlap.pairs import Overlaps
from tunelab.records import Example

LONG = "one two three four five six seven eight nine ten " * 2 + "and some more words that end this sentence here"


def rows(*names: str, split: str) -> list[Example]:
    return [Example(f"{split}-{name}", f"Prompt {name}", f"Target {name}") for name in names]


def compared(train: str, validation: str, test: str, *, remove: bool = False):
    """Overlaps of splits of rows that have letters as names, and what is left of train and validation."""
    splits = {"train": train, "validation": validation, "test": test}
    made = {split: rows(*names, split=split) for split, names in splits.items()}
    overlaps = Overlaps(made["validation"], made["test"], remove=remove)
    left = "".join(example.id[-1] for example in overlaps.watch(made["train"]))
    return overlaps, left, "".join(example.id[-1] for example in overlaps.validation)


def test_every_pair_is_counted_for_itself():
    overlaps, *left = compared("abcdefgh", "abxyz", "cdexypq")
    assert left == ["abcdefgh", "abxyz"]
    found = overlaps.summary()
    assert (found["num_test"], found["num_same_row"], found["num_train"], found["num_train_same_row"]) == (7, 3, 8, 3)
    train = found["train_validation"]
    assert (train["num_validation"], train["num_same_row"], train["num_same_prompt"]) == (5, 2, 2)
    assert (train["num_train"], train["num_train_same_row"], train["share_same_row"]) == (8, 2, 0.4)
    test = found["validation_test"]
    assert (test["num_test"], test["num_same_row"], test["num_validation"]) == (7, 2, 5)
    assert (test["num_validation_same_row"], test["num_validation_near_row"]) == (2, 0)


def test_removal_takes_test_out_of_validation_and_both_out_of_train():
    overlaps, train, validation = compared("abcdefgh", "abcxyz", "cdexypq", remove=True)
    assert (train, validation) == ("fgh", "abz")
    assert overlaps.notes() == [
        "train: 3 of 8 rows removed: 3 are test rows, 0 nearly are",
        "train: 2 of 5 rows removed: 2 are validation rows, 0 nearly are",
        "validation: 3 of 6 rows removed: 3 are test rows, 0 nearly are",
    ]


def test_near_rows_are_found_and_removed_between_every_pair():
    train = [Example(name, "p", f"{LONG} {name} more") for name in ("t", "v", "x")] + [Example("u", "p", "other")]
    validation = [Example("v", "q", f"{LONG} v".replace("one", "eins")), Example("t", "p", f"{LONG} tt")]
    near_validation = Example("n", "q", f"{LONG} v new".replace("one", "eins"))
    overlaps = Overlaps(validation, [Example("t", "p", f"{LONG} t")], remove=True)
    assert [example.id for example in overlaps.validation] == ["v"]
    assert [example.id for example in overlaps.watch([*train, near_validation])] == ["u"]
    found = overlaps.summary()
    assert (found["num_train_near_row"], found["train_validation"]["num_train_near_row"]) == (3, 1)
    assert found["validation_test"]["num_validation_near_row"] == 1


def test_one_test_row_in_validation_is_loud_and_says_what_it_spoils():
    names = "".join(chr(0x4E00 + number) for number in range(400))
    overlaps, *_ = compared("a", names, names[0] + "b")
    (note,) = overlaps.notes()
    assert note == (
        "WARNING validation: 1 of 400 rows (0.2%) are test rows, 0 nearly are: what is chosen by validation loss "
        "(learning rates, weights of merges) is chosen on test rows, so the chosen ones' scores are too good; "
        "data.overlap: remove takes them out of validation"
    )


@pytest.mark.parametrize(("num_rows", "said"), [(400, 0), (40, 1)])
def test_near_rows_of_test_in_validation_are_loud_above_one_percent(num_rows, said):
    validation = [Example(str(number), f"{number}", "short") for number in range(num_rows - 1)]
    validation.append(Example("near", "p", f"{LONG} v"))
    overlaps = Overlaps(validation, [Example("a", "p", f"{LONG} t")], remove=False)
    assert overlaps.summary()["validation_test"]["num_validation_near_row"] == 1
    assert len(overlaps.notes()) == said


def test_validation_rows_in_train_are_loud_above_one_percent():
    names = "".join(chr(0x4E00 + number) for number in range(200))
    quiet, *_ = compared(names[:2], names, "a")
    assert quiet.notes() == []
    loud, *_ = compared(names[:3], names, "a")
    (note,) = loud.notes()
    assert note.startswith("WARNING validation: 3 of 200 validation examples (1.5%) are rows of train: the validation")
    assert note.endswith(
        "by which learning rates are chosen, measures memory too; data.overlap: remove takes them out of train"
    )


def test_sources_are_counted_apart_for_every_pair():
    one, other = Example("1", "p", "t", source="a"), Example("2", "q", "t", source="b")
    overlaps = Overlaps([one, other], [one], remove=False)
    list(overlaps.watch([other]))
    found = overlaps.summary()
    assert found["validation_test"]["by_source"]["a"]["num_same_row"] == 1
    assert found["validation_test"]["by_source"]["b"]["num_same_row"] == 0
    assert found["train_validation"]["by_source"]["b"]["num_train_same_row"] == 1
