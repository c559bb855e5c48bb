"""Writes rows as the original files of the named data sets: the inverse of data/sets/original_files.py."""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

Row = dict
Writer = Callable[[Path, Sequence[Row]], None]


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """With the hub's columns: json lines, a json list or csv, as the name says."""
    if path.suffix == ".csv":
        _write_csv(path, [list(rows[0]), *(list(row.values()) for row in rows)])
    elif path.suffix == ".json":
        _write(path, json.dumps(list(rows), ensure_ascii=False, indent=1))
    else:
        _write(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))


def _e2e_nlg(path: Path, rows: Sequence[Row]) -> None:
    _write_csv(path, [["mr", "ref"], *(list(row.values()) for row in rows)])


def _news_summary(path: Path, rows: Sequence[Row]) -> None:
    _write_csv(path, [list(rows[0]), *(list(row.values()) for row in rows)], encoding="cp1252")


def _alpaca(path: Path, rows: Sequence[Row]) -> None:
    write_table(path, [{key: row[key] for key in ("instruction", "input", "output")} for row in rows])


def _ag_news(path: Path, rows: Sequence[Row]) -> None:
    """On the hub title and description are one text; any blank may have stood between them."""
    _write_csv(path, ([row["label"] + 1, *row["text"].split(" ", 1)] for row in rows))


def _classes(path: Path, rows: Sequence[Row]) -> None:
    _write_csv(path, ([row["label"] + 1, *list(row.values())[1:]] for row in rows))


def _wikitext(path: Path, rows: Sequence[Row]) -> None:
    _write(path, "".join(row["text"] or " \n" for row in rows))


def _tinystories(path: Path, rows: Sequence[Row]) -> None:
    _write(path, "".join(f"{row['text']}\n<|endoftext|>\n" for row in rows))


def _squad(path: Path, rows: Sequence[Row]) -> None:
    articles: dict[str, dict[str, list]] = {}
    for row in rows:
        texts, starts = row["answers"]["text"], row["answers"]["answer_start"]
        answers = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
        question = {"id": row["id"], "question": row["question"], "answers": answers}
        articles.setdefault(row["title"], {}).setdefault(row["context"], []).append(question)
    data = [
        {"title": title, "paragraphs": [{"context": context, "qas": asked} for context, asked in paragraphs.items()]}
        for title, paragraphs in articles.items()
    ]
    _write(path, json.dumps({"version": "1.1", "data": data}))


def _imdb(path: Path, rows: Sequence[Row]) -> None:
    for number, row in enumerate(rows):
        folder, rating = ("neg", 2) if row["label"] == 0 else ("pos", 9)
        _write(path / folder / f"{number}_{rating}.txt", row["text"])


def _write_csv(path: Path, rows: Iterable[list], *, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


WRITERS: dict[str, Writer] = {
    "e2e_nlg": _e2e_nlg,
    "news_summary": _news_summary,
    "alpaca": _alpaca,
    "wikitext_103": _wikitext,
    "wikitext_2": _wikitext,
    "tinystories": _tinystories,
    "ag_news": _ag_news,
    "yelp_review_full": _classes,
    "amazon_polarity": _classes,
    "squad": _squad,
    "imdb": _imdb,
}
"""Data sets whose original files have not simply the hub's columns."""
