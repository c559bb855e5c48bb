"""Stages are told as they begin, the innermost last, and nothing is left when they end."""

import pytest

from tunelab.stages import EVERY, counted, heard_by, stage


def heard(act) -> list[str]:
    told: list[str] = []
    with heard_by(told.append):
        act()
    return told


def test_the_innermost_is_told_and_then_the_outer_one_again():
    def act():
        with stage("planning"), stage("counting"):
            pass

    assert heard(act) == ["planning", "counting", "planning", ""]


def test_an_error_ends_a_stage():
    def act():
        with pytest.raises(ValueError), stage("planning"):
            raise ValueError

    assert heard(act)[-1] == ""


def test_who_comes_later_is_told_what_lasts():
    with stage("planning"):
        assert heard(lambda: None) == ["planning"]


def test_a_function_can_be_a_stage():
    @stage("writing the report")
    def write() -> int:
        return 3

    assert heard(lambda: (write(), write())) == ["writing the report", ""] * 2
    assert write() == 3


def test_long_counts_are_told_now_and_then():
    told = heard(lambda: list(counted(range(2 * EVERY + 1), "reading train")))
    assert told == ["reading train", "reading train: 5,000 rows", "reading train: 10,000 rows", ""]
