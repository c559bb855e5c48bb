"""Looks for test splits in the pretraining text: `python scripts/pretraining_overlap.py DATA OUT`.

OUT is what pretraining_corpus.py has laid out of DATA. Two measures, into OUT/overlap.json and as a table: test rows
that are, or nearly are, a training document (the check that every study runs, data/overlap), and test rows of which 13
words in a row stand in one (Brown et al. 2020, arXiv:2005.14165, appendix C).
"""

import argparse
import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from pretraining_corpus import passages, stories, wikitext

from tunelab.data.examples.twins import words
from tunelab.data.overlap.overlap import KnownRows, OverlapFinder, watch
from tunelab.records import Example

RUN = 13
"""Words in a row."""


def column(path: Path, name: str) -> list[str]:
    csv.field_size_limit(10**7)
    with path.open(encoding="utf-8", newline="") as file:
        return [row[name] for row in csv.DictReader(file)]


def lines(path: Path) -> Iterator[dict]:
    return map(json.loads, path.read_text(encoding="utf-8").rstrip("\n").split("\n"))


def cut(texts: Iterable[str]) -> list[str]:
    """In pieces as long as training documents."""
    return [each for text in texts for each in passages(text.splitlines())]


def test_splits(data: Path) -> Iterator[tuple[str, list[str]]]:
    for part in ("trainset", "devset"):
        yield f"E2E, {part} (never trained on)", column(data / "e2e_nlg" / f"{part}.csv", "ref")
    yield "E2E, testset", column(data / "e2e_nlg" / "testset_w_refs.csv", "ref")
    yield "GSM8K, test", [f"{row['question']}\n{row['answer']}" for row in lines(data / "gsm8k" / "test.jsonl")]
    yield "WikiText, test", wikitext((data / "wikitext" / "test.txt").read_text(encoding="utf-8"))
    yield "TinyStories, between", stories(data)[4_000:-545]
    yield "TinyStories, held out", stories(data)[-545:]
    for part in ("validation", "test"):
        path = data / "cnn_dailymail" / f"cnn_dailymail_{part}.csv"
        yield f"CNN/DailyMail, {part}", [*cut(column(path, "article")), *column(path, "highlights")]
    xsum = data / "xsum" / "xsum_test_500.csv"
    yield "XSum, test", [*cut(column(xsum, "article")), *column(xsum, "highlights")]
    with (data / "ag_news" / "test.csv").open(encoding="utf-8", newline="") as file:
        yield "AG News, test", [f"{row[1]}\n{row[2]}" for row in csv.reader(file)]
    squad = json.loads((data / "squad" / "dev-v1.1_rebuilt_from_explorer.json").read_text(encoding="utf-8"))["data"]
    yield "SQuAD, dev", [paragraph["context"] for article in squad for paragraph in article["paragraphs"]]


def runs(text: str) -> np.ndarray:
    """int64 (words - 12,): a hash of every 13 words in a row."""
    own = words(text)
    return np.array([hash(tuple(own[at : at + RUN])) for at in range(len(own) - RUN + 1)], np.int64)


def shared_runs(train: list[str], tests: list[tuple[str, list[str]]]) -> dict[str, int]:
    """Rows of each split with a run that stands in training."""
    seen = np.unique(np.concatenate([runs(text) for text in train]))
    found = {}
    for name, rows in tests:
        own = [runs(text) for text in rows]
        keys = np.concatenate(own)
        known = seen[np.minimum(np.searchsorted(seen, keys), len(seen) - 1)] == keys
        row = np.repeat(np.arange(len(own)), [len(each) for each in own])
        found[name] = len(np.unique(row[known]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    train = [row["text"] for row in lines(options.out / "train.jsonl")]
    tests = [(name, [text for text in rows if text.strip()]) for name, rows in test_splits(options.data)]
    known = KnownRows(
        Example(f"{number}", "", text, source=name) for name, rows in tests for number, text in enumerate(rows)
    )
    finder = OverlapFinder(known)
    for _ in watch((Example(f"{at}", "", text) for at, text in enumerate(train)), [finder], remove=False):
        pass
    shared, found = shared_runs(train, tests), {}
    print(f"{len(train):,} training documents\n")
    print(f"| split | rows | same | nearly the same | {RUN} words in a row |\n|---|---|---|---|---|")
    for name, rows in tests:
        one = finder.overlap(name)
        found[name] = {"rows": len(rows), "same": one.num_same_row, "near": one.num_near_row, "run": shared[name]}
        print("|", " | ".join([name, *(f"{count:,}" for count in found[name].values())]), "|")
    (options.out / "overlap.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
