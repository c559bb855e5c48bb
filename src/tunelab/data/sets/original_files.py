"""The files that the named data sets were first published as: each reader gives rows with the columns of the hub.

Values are the hub's too: what the hub keeps as it was published (a backslash for a line break in AG News) stays.
"""

from __future__ import annotations

import csv
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from tunelab.data.reading.rows import Row, read_rows
from tunelab.errors import DataError

Reader = Callable[[Path, str], Iterator[Row]]
"""From a file and a split's name to rows."""

END_OF_STORY = "<|endoftext|>"


def table(path: Path, split: str) -> Iterator[Row]:
    """A file that has the hub's columns already."""
    return iter(read_rows(path))


def e2e_nlg(path: Path, split: str) -> Iterator[Row]:
    names = {"mr": "meaning_representation", "ref": "human_reference"}
    for row in read_rows(path):
        yield {names.get(column, column): value for column, value in row.items()}


def news_summary(path: Path, split: str) -> Iterator[Row]:
    """news_summary.csv is cp1252; news_summary_more.csv has two of its columns, and spread-sheets leave blank rows."""
    columns = ("author", "date", "headlines", "read_more", "text", "ctext")
    for row in read_rows(path, encoding="utf-8" if _is_utf8(path) else "cp1252"):
        if any(str(value or "").strip() for value in row.values()):
            yield {column: row.get(column, "") for column in columns if column in row or "ctext" not in row}


def alpaca(path: Path, split: str) -> Iterator[Row]:
    """alpaca_data.json has no column `text`: on the hub it is stanford_alpaca's own prompt and the output."""
    for row in read_rows(path):
        yield {**row, "text": row["text"] if "text" in row else alpaca_text(row)}


def ag_news(path: Path, split: str) -> Iterator[Row]:
    """Without a header: class 1-4, title, description."""
    for label, title, description in _labelled(path, columns=("text", "label"), num_values=3):
        yield {"text": f"{title} {description}", "label": label}


def yelp_review_full(path: Path, split: str) -> Iterator[Row]:
    """Without a header: stars 1-5, text."""
    for label, text in _labelled(path, columns=("label", "text"), num_values=2):
        yield {"label": label, "text": text}


def amazon_polarity(path: Path, split: str) -> Iterator[Row]:
    """Without a header: class 1-2, title, text."""
    for label, title, content in _labelled(path, columns=("label", "title", "content"), num_values=3):
        yield {"label": label, "title": title, "content": content}


def wikitext(path: Path, split: str) -> Iterator[Row]:
    """A row a line with its line break; lines without text are rows with an empty text."""
    for line in _open_lines(path):
        yield {"text": line if line.strip() else ""}


def tinystories(path: Path, split: str) -> Iterator[Row]:
    """Stories end with <|endoftext|>."""
    lines: list[str] = []
    for line in _open_lines(path):
        before, *after = line.split(END_OF_STORY)
        lines.append(before)
        for part in after:
            yield from _story(lines)
            lines = [part]
    yield from _story(lines)


def squad(path: Path, split: str) -> Iterator[Row]:
    """{"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers"}]}]}]}."""
    try:
        articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(f"{path}: is not SQuAD's JSON with 'data' at its top ({error}); get it from its page") from None
    for article in articles:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                answers = question["answers"]
                yield {
                    "id": question["id"],
                    "title": article.get("title", ""),
                    "context": paragraph["context"],
                    "question": question["question"],
                    "answers": {key: [answer[key] for answer in answers] for key in ("text", "answer_start")},
                }


def imdb(path: Path, split: str) -> Iterator[Row]:
    """aclImdb: {train,test}/{neg,pos}/ID_RATING.txt, as a folder or inside a .tar.gz; neg before pos, by number."""
    review = re.compile(rf"(?:^|/){split}/(neg|pos)/(\d+)_\d+\.txt$")
    texts = _packed_texts(path, review) if path.is_file() else _folder_texts(path, review)
    for (label, _), text in sorted(texts):
        yield {"text": text, "label": int(label == "pos")}


def _packed_texts(path: Path, review: re.Pattern[str]) -> Iterator[tuple[tuple[str, int], str]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if (match := review.search(member.name)) and (file := archive.extractfile(member)):
                    yield (match[1], int(match[2])), file.read().decode()
    except (tarfile.TarError, OSError, EOFError) as error:
        reason = str(error).splitlines()[0].rstrip(":")
        raise DataError(f"{path}: not a readable tar file ({reason}); download it again") from None


def _folder_texts(path: Path, review: re.Pattern[str]) -> Iterator[tuple[tuple[str, int], str]]:
    for file in path.glob("*/*.txt"):
        if match := review.search(file.as_posix()):
            yield (match[1], int(match[2])), file.read_text(encoding="utf-8")


def _labelled(path: Path, *, columns: tuple[str, ...], num_values: int) -> Iterator[list]:
    """Rows of a csv without header whose first value is a class counted from 1; given counted from 0."""
    csv.field_size_limit(1 << 30)
    reader = csv.reader(_open_lines(path), strict=True)
    try:
        for values in reader:
            if len(values) != num_values or not values[0].isdigit():
                raise DataError(
                    f"{path}:{reader.line_num}: must be {num_values} values that begin with a class, without a header; "
                    f"got {len(values)} values (a file with the hub's columns {', '.join(columns)} must be jsonl)"
                )
            yield [int(values[0]) - 1, *values[1:]]
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not valid CSV ({error}); is a double quote left open?") from None


def _open_lines(path: Path) -> Iterator[str]:
    """Lines with their line breaks; only \\n and \\r\\n end a line."""
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            yield from file
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 ({error}); download it again") from None


def _story(lines: list[str]) -> Iterator[Row]:
    text = "".join(lines).strip()
    if text:
        yield {"text": text}


def _is_utf8(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            while list(islice(file, 10_000)):
                pass
    except UnicodeDecodeError:
        return False
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    return True


def alpaca_text(row: Row) -> str:
    """The template of github.com/tatsu-lab/stanford_alpaca/blob/main/train.py (PROMPT_DICT), then the output."""
    paired = ", paired with an input that provides further context" if row.get("input") else ""
    asked = "Write a response that appropriately completes the request."
    head = f"Below is an instruction that describes a task{paired}. {asked}"
    given = f"\n\n### Input:\n{row['input']}" if row.get("input") else ""
    return f"{head}\n\n### Instruction:\n{row['instruction']}{given}\n\n### Response:\n{row['output']}"
