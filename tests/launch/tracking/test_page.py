"""docs/trackers.md says the names, the commands, the extras and the seconds as they are."""

import re
from pathlib import Path

import pytest

from tunelab import catalogue
from tunelab.launch.tracking import beside, mirror
from tunelab.launch.tracking.told import HOST, STEP, USAGE, VALIDATION
from tunelab.study.planning.plan import tracker_of

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "trackers.md").read_text()
NAMES = [name for name in catalogue.names("trackers") if tracker_of(name).__module__ == f"tunelab.trackers.{name}"]


def test_every_name_is_on_the_page():
    for name in (*STEP.values(), *VALIDATION.values(), *USAGE.values(), HOST, beside.SWITCH):
        assert name in PAGE, name


@pytest.mark.parametrize("name", NAMES)
def test_every_tracker_has_its_extra_and_the_command_to_look_at_it(name):
    assert f"| `{name}` |" in PAGE
    assert re.search(rf"^{name} = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    command = tracker_of(name).look.format(folder=f"RESULTS/trackers/{name}", study="STUDY").partition(" (")[0]
    assert f"`{command}`" in PAGE


def test_the_seconds_are_those_of_the_code():
    assert beside.END_SECONDS == 5 and "waits five seconds for all of them together" in PAGE
    assert mirror.LAST_SECONDS == 60 and "leaves its mirrors a minute" in PAGE
