"""News Summary and the encoder-decoder summaries on real rows."""

import csv

import pytest

from tunelab.data.reading.rows import read_rows
from tunelab.tasks.news_summary import NewsSummary
from tunelab.tasks.summarize import Summarize

SPLITS = ("train", "validation", "test")


@pytest.mark.slow
def test_news_rows_without_an_article_are_counted_and_every_row_is_in_one_split(shared):
    task = NewsSummary(path=shared / "data/news_summary/news_summary.csv")
    examples = [example for split in SPLITS for example in task.examples(split)]
    left_out = [int(note.split()[1]) for split in SPLITS for note in task.notes(split)]
    assert sum(left_out) == 118
    assert len(examples) + sum(left_out) <= 4514
    assert (
        len({example.prompt for example in task.examples("train")} & {e.prompt for e in task.examples("test")}) == 5
    )  # told by the overlap guard
    assert not any("\x92" in example.target or "Ã" in example.target for example in examples)


def test_news_columns_can_be_chosen(shared):
    path = shared / "data/news_summary/news_summary.csv"
    headline = NewsSummary(path=path, article="text").examples("test")[0]
    summary = NewsSummary(path=path, summary="text").examples("test")[0]
    assert headline.prompt.removeprefix("Summarize: ").removesuffix("\nSummary:") == summary.target.strip()
    assert len(headline.target) < len(summary.target) < len(summary.prompt)
    assert NewsSummary(path=path, article="text", summary="text").problems()


@pytest.fixture
def xsum(shared, tmp_path):
    """The published columns, from the copy at hand."""
    with open(shared / "data/xsum/xsum_test_500.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for split, part in (("train", rows[:300]), ("validation", rows[300:400]), ("test", rows[400:])):
        with open(tmp_path / f"{split}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["document", "summary", "id"])
            writer.writerows([row["article"], row["highlights"], row["id"]] for row in part)
    return tmp_path


def test_a_document_gets_the_prefix_of_t5(xsum):
    task = Summarize(source="xsum", path=xsum, test_rows=20)
    assert [len(task.examples(split)) for split in SPLITS] == [300, 100, 20]
    rows = {row["summary"]: row["document"] for row in read_rows(xsum / "test.csv")}
    for example in task.examples("test"):
        assert example.prompt == "summarize: " + rows[example.target]


def test_a_prefix_with_braces_is_text(xsum):
    example = Summarize(source="xsum", path=xsum, prefix="{tldr} ").examples("test")[0]
    assert example.prompt.startswith("{tldr} ")


def test_cnn_daily_mail_has_its_columns(shared, tmp_path):
    for split, name in (("train", "validation"), ("validation", "validation"), ("test", "test")):
        (tmp_path / f"{split}.csv").symlink_to(shared / f"data/cnn_dailymail/cnn_dailymail_{name}.csv")
    task = Summarize(source="cnn_dailymail", path=tmp_path)
    assert len(task.examples("test")) == 500
    assert task.examples("test")[0].target.count(".") >= 2
