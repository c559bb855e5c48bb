"""Ten text sets as one task, on real slices in their original formats or with the hub's columns."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from tunelab.data.examples.formats import Formatted
from tunelab.data.reading.lazy import Lazy
from tunelab.data.sets import named as sources
from tunelab.errors import DataError
from tunelab.tasks import corpora
from tunelab.tasks.corpora import TEXTS, Corpora

PUBLISHED = {  # documents in each split: articles of WikiText, different paragraphs of SQuAD
    "wikitext_103": {"train": 28_475, "validation": 60, "test": 60},
    "wikitext_2": {"train": 600, "validation": 60, "test": 60},
    "tinystories": {"train": 2_119_719, "validation": 21_990},
    "ag_news": {"train": 120_000, "test": 7_600},
    "yelp_review_full": {"train": 650_000, "test": 50_000},
    "amazon_polarity": {"train": 3_600_000, "test": 400_000},
    "cnn_dailymail": {"train": 287_113, "validation": 13_368, "test": 11_490},
    "xsum": {"train": 204_045, "validation": 11_332, "test": 11_334},
    "squad": {"train": 18_891, "validation": 2_067},
    "imdb": {"train": 25_000, "test": 25_000},
}


class Numbered(Lazy[dict]):
    """Rows whose text is their number."""

    def __init__(self, column: str, size: int) -> None:
        self.column, self.size = column, size

    def __len__(self) -> int:
        return self.size

    def _at(self, position: int) -> dict:
        return {self.column: str(position)}


@pytest.fixture
def published(monkeypatch):
    """Sets of the published sizes, so that counts can be checked without the hub."""

    def rows(name: str, split: str, *, path: Path | None, n: int | None = None, seed: int = 0):
        size = PUBLISHED[name][split]
        return Numbered(TEXTS[name].column, size if n is None else min(n, size))

    monkeypatch.setattr(corpora, "source_rows", rows)


def test_the_published_splits_are_those_of_the_sources():
    assert {name: set(sizes) for name, sizes in PUBLISHED.items()} == {
        name: set(sources.SOURCES[name].splits) for name in Corpora().sources
    }


@pytest.mark.slow
def test_by_default_415000_documents_are_trained_on_and_46000_validated_on(published, monkeypatch):
    monkeypatch.setattr(corpora, "format_rows", lambda rows, **_: Formatted(rows, len(rows), 0))  # half a million texts
    task = Corpora()
    counts = {split: len(task.examples(split)) for split in ("train", "validation", "test")}
    assert counts == {"train": 414_777, "validation": 45_909, "test": 8_120}
    assert task.notes("train") == [
        "train: 414,777 rows drawn: wikitext_103 28,475, wikitext_2 600, tinystories 57,700, ag_news 57,700, "
        "yelp_review_full 57,700, amazon_polarity 57,700, cnn_dailymail 57,700, xsum 57,700, squad 17,002, imdb 22,500"
    ]


def test_no_twin_of_a_held_out_document_is_trained_on(monkeypatch):
    rows = [{"text": text} for number in range(50) for text in (f"Review {number}", f"review  {number}")]
    monkeypatch.setattr(corpora, "source_rows", lambda name, split, **_: rows)
    task = Corpora(sources=["imdb"])
    train, validation = (
        [example.target.lower().replace("  ", " ") for example in task.examples(split)]
        for split in ("train", "validation")
    )
    assert (len(train), len(validation)) == (90, 10)
    assert not {*train} & {*validation}
    monkeypatch.setattr(corpora, "source_rows", lambda name, split, **_: rows[:2])
    with pytest.raises(DataError, match=r"imdb: has 2 rows that are equal \(case and white space aside\)"):
        Corpora(sources=["imdb"]).examples("train")


def test_held_out_documents_are_not_trained_on(published):
    task = Corpora(sources=["ag_news", "imdb"], ag_news={"train": 300, "validation": 40, "test": 5})
    for name, sizes in (("ag_news", (300, 40)), ("imdb", (22_500, 2_500))):
        train, validation = (
            {example.target for example in task.examples(split) if example.source == name}
            for split in ("train", "validation")
        )
        assert (len(train), len(validation)) == sizes
        assert not train & validation


def test_a_set_with_one_document_cannot_hold_any_out(monkeypatch):
    monkeypatch.setattr(corpora, "source_rows", lambda *_, **__: [{"text": "Once."}])
    with pytest.raises(DataError, match="^imdb: has 1 documents, too few to hold any out of train$"):
        Corpora(sources=["imdb"]).examples("train")


@pytest.fixture(scope="session")
def slices(shared, tmp_path_factory) -> dict[str, Path]:
    """A folder for each set. The slices are other splits than they stand for here, and yelp's is of another
    collection: only their formats and columns matter."""
    data, folder = shared / "data", tmp_path_factory.mktemp("slices")
    for name in TEXTS:
        (folder / name).mkdir()
    for name in ("wikitext_103", "wikitext_2"):
        for ours, theirs in (("train", "valid"), ("valid", "valid"), ("test", "test")):
            shutil.copy(data / "wikitext" / f"{theirs}.txt", folder / name / f"{ours}.txt")
    stories = (data / "tinystories/tinystories.txt").read_text().split("\nonce upon a time")[:60]
    for split in ("train", "valid"):
        (folder / "tinystories" / f"TinyStories-{split}.txt").write_text("\n<|endoftext|>\n".join(stories))
    for split in ("train", "test"):
        shutil.copy(data / "ag_news/test.csv", folder / "ag_news" / f"{split}.csv")
        reviews = read_csv(data / "yelp_review_full_substitute/aug-pe_yelp_dev.csv")[:40]
        write_csv(folder / "yelp_review_full" / f"{split}.csv", [["3", row["text"]] for row in reviews])
        lines = (data / "amazon_polarity_substitute/style-transfer_sentiment.dev.0").read_text().splitlines()[:40]
        write_csv(folder / "amazon_polarity" / f"{split}.csv", [["1", "A title", line] for line in lines])
    for split, theirs in (("train", "validation"), ("validation", "validation"), ("test", "test")):
        shutil.copy(data / f"cnn_dailymail/cnn_dailymail_{theirs}.csv", folder / "cnn_dailymail" / f"{split}.csv")
        news = read_csv(data / "xsum/xsum_test_500.csv")[:30]
        rows = [{"document": row["article"], "summary": row["highlights"], "id": row["id"]} for row in news]
        (folder / "xsum" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("train-v1.1.json", "dev-v1.1.json"):
        shutil.copy(data / "squad/dev-v1.1_rebuilt_from_explorer.json", folder / "squad" / name)
    shutil.copy(data / "imdb/aclImdb_slice.tar.gz", folder / "imdb")
    return {name: folder / name for name in TEXTS}


def read_csv(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_csv(path: Path, rows: list[list]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.mark.slow
def test_real_slices_of_all_ten_are_read(slices):
    few = {"train": 20, "validation": 5, "test": 4}
    task = Corpora(**{name: {**few, "path": path} for name, path in slices.items()})
    for split, number in few.items():
        examples = task.examples(split)
        assert {name: sum(example.source == name for example in examples) for name in TEXTS} == dict.fromkeys(
            TEXTS, number
        )
        assert all((example.prompt, example.references) == ("", (example.target,)) for example in examples)
    texts = {example.source: example.target for example in task.examples("train")}
    assert texts["wikitext_2"].startswith("= ")
    assert "<|endoftext|>" not in texts["tinystories"]
    assert "A title" not in texts["amazon_polarity"]


@pytest.mark.slow
def test_a_paragraph_of_squad_is_one_document_whatever_its_questions(slices):
    task = Corpora(sources=["squad"], squad={"path": slices["squad"], "test": None})
    assert len(task.examples("test")) == 2_067  # as its SOURCE.md counts
    assert len(task.examples("train")) + len(task.examples("validation")) == 2_067


@pytest.mark.slow
def test_imdb_is_read_from_its_archive(slices):
    task = Corpora(sources=["imdb"], imdb={"path": slices["imdb"], "train": 50, "validation": 10, "test": None})
    assert len(task.examples("test")) == 5_000  # as its SOURCE.md counts
    assert len(task.examples("train")) == 50


def test_empty_documents_are_left_out_and_counted(tmp_path):
    for split in ("train", "test"):
        write_csv(tmp_path / f"{split}.csv", [["1", text] for text in ("Good.", " ", "Bad.")])
    task = Corpora(sources=["yelp_review_full"], yelp_review_full={"path": tmp_path})
    assert task.notes("test") == [
        "test, yelp_review_full: 1 of 3 rows left out, they are empty",
        "test: 2 rows drawn: yelp_review_full 2",
    ]


def test_a_rehearsal_needs_no_network_and_comes_back_from_its_options(tmp_path):
    task = Corpora().rehearsal(tmp_path)
    assert [len(task.examples(split)) for split in ("train", "validation", "test")] == [40, 10, 10]
    assert Corpora(**task.model_dump(mode="json")) == task == task.rehearsal(tmp_path)
