"""report.html and report.md: nothing from the records can become markup, nothing is asked of another host."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from report.study_folder import HOSTILE, METRICS, write_study
from tunelab.report.decision import terminal_text
from tunelab.report.examples import most_different
from tunelab.report.frame import build_comparison
from tunelab.report.write import write_report

VOID = {"meta", "br", "wbr", "hr", "img", "link", "input"}


class Reader(HTMLParser):
    """Collects tags, attributes and visible text, and checks that tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def pages(folder):
    hostile = f"lora {HOSTILE}"
    study = write_study(
        folder, methods=("base", "full", "lora r=4", hostile), tasks=("restaurants", HOSTILE), num_examples=20
    )
    write_report(study, metrics=METRICS, folder=folder, config_facts={HOSTILE: HOSTILE})
    return (folder / "report.html").read_text(), (folder / "report.md").read_text()


@pytest.fixture(scope="module")
def read(pages):
    reader = Reader()
    reader.feed(pages[0])
    assert not reader.open
    return reader


def test_hostile_text_is_shown_and_never_markup(pages, read):
    assert read.tags.count("script") == 1 + 2  # our own, and the examples of two tasks as data
    assert pages[0].count("<script") == pages[0].count("</script") == 1 + 2
    assert read.tags.count("style") == 1 + read.tags.count("svg")  # ours, and the one matplotlib puts in each drawing
    assert HOSTILE in "".join(read.text)
    assert "<script>alert" not in pages[0]
    assert not any(name.startswith("on") for name, _ in read.attributes)


def test_the_page_asks_no_other_host(pages, read, folder):
    for name, value in read.attributes:
        if name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert value.startswith("#") or (name == "href" and (folder / value).is_file()), f"{name}={value}"
    beside = {value for name, value in read.attributes if name == "href" and not value.startswith("#")}
    assert {"comparison.csv", "comparison.json", "report.md"} <= beside
    assert {f"plots/{path.name}" for path in (folder / "plots").iterdir()} <= beside
    page = pages[0]
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert {"link", "iframe", "object", "embed", "form", "base"}.isdisjoint(read.tags)
    assert set(re.findall(r"https?://[^\"'<\s]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_ids_are_unique_and_links_inside_the_page_lead_somewhere(read):
    ids = [value for name, value in read.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = [value for name, value in read.attributes if name in ("href", "xlink:href")]
    assert {value[1:] for value in links if value.startswith("#")} <= set(ids)


def test_markdown_has_no_markup_of_the_text_and_whole_tables(pages):
    markdown = pages[1]
    assert "<script" not in markdown and "</style>" not in markdown
    for block in re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE):
        borders = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(borders) == 1, block


def test_the_page_has_every_part(read):
    text = "".join(read.text)
    for heading in (
        "Every method beside the best", "What makes the rows comparable", "Effective optimizer", "Phases",
        "Failed runs", "Runs that have not finished", "Notes of the runs", "Metrics", "Provenance",
        "Examples on which the methods differ most",
    ):  # fmt: skip
        assert heading in text, heading


def test_examples_are_those_with_the_largest_variance(tmp_path):
    study = write_study(tmp_path, tasks=("restaurants",), seeds=(0,), num_examples=30, spoil=False)
    group = build_comparison([study], metrics=METRICS).groups[0]
    trained = [group.runs_of(method)[0] for method in ("full", "lora r=4", "lora r=8")]
    values = np.array([[prediction.statistics["rouge_l"][0] for prediction in run.predictions] for run in trained])
    expected = [f"restaurants-{place}" for place in np.argsort(-values.var(axis=0))[:8]]
    found = most_different(group, metrics=METRICS)
    assert [example.id for example in found] == expected
    assert [answer.method for answer in found[0].answers] == ["base", "full", "lora r=4", "lora r=8"]


def test_terminal_text_has_no_control_characters_of_the_records(tmp_path):
    study = write_study(
        tmp_path, tasks=("a\x1b[2Jtask",), methods=("base", "full\x1b]0;x\x07"), seeds=(0,), spoil=False
    )
    text = terminal_text(build_comparison([study], metrics=METRICS))
    assert "\x1b" not in text and "\x07" not in text
