"""What `tunelab show STUDY` says of a split: sources, lengths, what is learned."""

import pytest
from rich.console import Console

from tunelab.launch.printing import print_tasks
from tunelab.study.verbs.show import FirstStep, Piece, ShownExample, ShownTask

CUTS = {"prompts_cut": 1, "targets_cut": 0}
COUNTS = {"rows": 5, "shortest": 3, "median": 9, "longest": 20, "supervised_tokens": 30, **CUTS}


@pytest.fixture
def shown() -> ShownTask:
    split = {"counts": COUNTS, "sources": {}, "lengths": {"tokens": [0, 10, 20], "num_rows": [4, 1]}}
    mixed = {**split, "sources": {"alpaca": 3, "tulu_v2": 2}}
    summary = {"max_length": 20, "splits": {"train": mixed, "test": split}, "overlap": None}
    example = ShownExample("train-000000", (), (Piece("Hi ", False, False), Piece("Hello", True, False)), 3, 1)
    return ShownTask("chats", False, summary, (), (example,), FirstStep(("train-000000",), 1, 1, 3, 1))


def printed(shown: ShownTask) -> list[str]:
    console = Console(width=200)
    with console.capture() as capture:
        print_tasks([shown], console)
    return capture.get().splitlines()


def test_every_source_is_counted_and_lengths_are_drawn(shown):
    lines = printed(shown)
    assert lines[:6] == [
        "chats: what is learned stands in [[ ]]",
        "  train: 5 rows of 3-20 tokens (median 9), 30 supervised; cut at 20: 1 prompts, 0 targets",
        "    of alpaca: 3, tulu_v2: 2",
        "    lengths 1-20: |█▂|, most are 1-10 tokens (4 rows)",
        "  test: 5 rows of 3-20 tokens (median 9), 30 supervised; cut at 20: 1 prompts, 0 targets",
        "    lengths 1-20: |█▂|, most are 1-10 tokens (4 rows)",
    ]
    assert "Hi [[Hello]]" in lines


def test_a_task_of_one_source_names_none(shown):
    shown.summary["splits"]["train"]["sources"] = {}
    assert not [line for line in printed(shown) if "alpaca" in line]
