"""The report as a browser shows and prints it: 2, 5 and 12 methods, 1 and 3 tasks, long labels, failed runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from report.many_methods import LONG, write_many, write_pages
from report.measured import printed, seen

pytestmark = pytest.mark.slow

STUDIES: dict[str, dict[str, Any]] = {
    "two": {"num_methods": 2},
    "five": {"num_methods": 5, "spoil": True},
    "twelve": {"num_methods": 12, "num_tasks": 3, "spoil": True},
    "long": {"num_methods": 12, "num_tasks": 1, "long": True},
    "long tasks": {"num_methods": 3, "num_tasks": 2, "long": True, "spoil": True},
    "metrics": {"num_methods": 5, "more_metrics": True},
    "one point": {"num_methods": 2, "steps": 4, "seeds": (0,)},
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    made: dict[str, Path] = {}

    def page(name: str) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp(name.replace(" ", "-"))
            made[name] = write_pages(folder, write_many(folder, **STUDIES[name]))
        return made[name]

    return page


@pytest.fixture
def pdftotext() -> str:
    """Reads a PDF (Debian's package poppler-utils); missing ones are met as a missing browser is."""
    found = shutil.which("pdftotext")
    if found is None and os.environ.get("TUNELAB_REQUIRE_ALL") == "1":
        pytest.fail("no pdftotext: install Debian's package poppler-utils")
    if found is None:
        pytest.skip("no pdftotext: install Debian's package poppler-utils")
    return found


@pytest.mark.parametrize("name", STUDIES)
def test_nothing_sticks_out_on_a_phone_and_figures_can_be_read(chromium, pages, name):
    facts, errors = seen(chromium, pages(name), width=400)
    assert errors == ()
    assert facts["width"] == 400 and facts["outside"] == []
    assert facts["cut"] == [], "a text of a figure is cut at its edge"
    assert facts["smallest_text"] > 9, "letters of a figure, in CSS pixels with their line"


@pytest.mark.parametrize("dark", [False, True])
def test_the_decision_figures_and_table_are_on_the_first_screen(chromium, pages, dark):
    for name in ("two", "five"):
        facts, errors = seen(chromium, pages(name), width=1400, dark=dark)
        assert errors == () and facts["outside"] == [] and facts["cut"] == []
        assert facts["figures_end"] < facts["table_begins"] < 640, name
        assert facts["table_ends"] < 1000, name
        red = int(re.findall(r"\d+", facts["background"])[0])
        assert red < 60 if dark else red == 255


def test_with_several_tasks_the_first_screen_has_the_matrix(chromium, pages):
    facts, _ = seen(chromium, pages("twelve"), width=1400)
    assert facts["table_begins"] < 300 and facts["table_ends"] < 900
    assert facts["cut"] == [], "twelve methods in a legend"


def test_points_tell_their_values(chromium, pages):
    facts, _ = seen(chromium, pages("five"), width=1400)
    assert facts["told"] == facts["spots"] == 8, "four methods, two figures: nothing lies over a point"
    titles = facts["titles"]
    assert any(re.fullmatch(r"dora: rouge_l 0\.\d+ \[0\.\d+, 0\.\d+\], worse; 1\.47 GiB", title) for title in titles)
    assert any(re.fullmatch(r"dora: rouge_l .*; 97\.0 s", title) for title in titles)
    assert any(re.match(r"galore: validation loss \d\.\d{4} at step 60; its 3 seeds", title) for title in titles)
    assert any(title.startswith("galore: training loss") for title in titles)


@pytest.mark.parametrize(("name", "most"), [("two", 9), ("five", 10), ("twelve", 40), ("long", 34), ("metrics", 16)])
def test_print_is_bounded_and_shows_every_column(chromium, pdftotext, pages, name, most):
    number, pdf = printed(chromium, pages(name))
    assert 2 < number <= most
    told = subprocess.run([pdftotext, "-bbox", pdf, "-"], capture_output=True, text=True, check=True).stdout
    sheets = re.findall(r'<page width="([\d.]+)".*?>(.*?)</page>', told, flags=re.DOTALL)
    assert len(sheets) == number
    beyond = [
        (place, word) for place, (width, words) in enumerate(sheets, start=1)
        for right, word in re.findall(r'xMax="([\d.]+)"[^>]*>([^<]*)<', words) if float(right) > float(width)
    ]  # fmt: skip
    assert beyond == [], "words that stand outside of their sheet"
    facts = STUDIES[name]
    rows = facts["num_methods"] * facts.get("num_tasks", 1)
    assert told.count(">tried</word>") >= rows, "the last column but one of the decision table is cut off"


def test_long_labels_stay_different_in_the_figures(chromium, pages):
    page = pages("long").read_text(encoding="utf-8")
    drawn = {text for text in re.findall(r"<text[^>]*>([^<]*)</text>", page) if "…" in text}
    assert len(drawn) == 12, drawn
    assert LONG.format(7) in page
