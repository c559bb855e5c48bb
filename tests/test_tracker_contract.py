"""What every tracker has, and how one says what it lacks."""

import pytest

from tunelab import catalogue
from tunelab.study.planning.plan import tracker_of
from tunelab.tracker_contract import Tracker

NAMES = catalogue.names("trackers")


def test_there_are_four():
    assert {"mlflow", "tensorboard", "trackio", "wandb"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_brings_it_and_how_to_look_at_it(name):
    cls = tracker_of(name)
    assert cls.packages and cls.install == f"pip install 'tunelab[{name}]'"
    assert "/results" in cls.look.format(folder="/results", study="small")
    assert cls.version().startswith(name) if not cls.missing() else cls.version() == ""


def absent(*names: str) -> type[Tracker]:
    return type("Absent", (Tracker,), {"packages": names, "install": "pip install it"})


def test_what_is_missing_is_named_with_the_command_that_brings_it():
    assert absent("json", "no_such_package").missing() == (
        "the package no_such_package is not installed: pip install it"
    )
    assert absent("json").missing() == ""


def test_a_folder_of_that_name_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "left_behind").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert absent("left_behind").missing()
    (tmp_path / "left_behind" / "__init__.py").write_text("")
    assert not absent("left_behind").missing()
