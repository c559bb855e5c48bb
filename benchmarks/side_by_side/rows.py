"""Rows of a workload: real ones where shared/data lies beside the project, else generated ones as long as those."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from side_by_side.lengths import LENGTHS
from side_by_side.workloads import Rows, Shape

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
TOKENIZERS = SHARED / "tokenizers"
FILES = {
    "e2e": "e2e_nlg/trainset.csv",
    "gsm8k": "gsm8k/train.jsonl",
    "alpaca": "alpaca/alpaca_5000.json",
    "news": "news_summary/news_summary.csv",
    "stories": "tinystories/tinystories.txt",
}
WORDS = {"prompt": "{prompt}", "target": "{target}"}
Row = dict[str, str]
"""prompt and target, or text."""


def are_real(rows: Rows) -> bool:
    return (SHARED / FILES[rows.source]).exists() and TOKENIZERS.is_dir()


def said(rows: Rows, *, real: bool) -> str:
    """For the table."""
    if real:
        return f"{FILES[rows.source]}, first rows of it"
    return f"generated, with the lengths of 64 rows of {FILES[rows.source]} (shared/data is not here)"


def first_rows(rows: Rows, count: int, *, real: bool, vocabulary: int) -> list[Row]:
    """Of the file, shuffled by seed 0 (neighbours in it are alike); or generated."""
    if not real:
        return list(islice(_generated(rows, vocabulary=vocabulary), count))
    csv.field_size_limit(sys.maxsize)
    found = [row for row in _read(rows.source) if all(text.strip() for text in row.values())]
    order = np.random.default_rng(0).permutation(len(found))
    if len(found) < count:
        raise SystemExit(f"{rows.source}: has {len(found)} rows, {count} are needed; take fewer steps")
    return [found[place] for place in order[:count]]


def _read(source: str) -> list[Row]:
    path = SHARED / FILES[source]
    if source == "stories":
        stories = re.split(r"(?<!\n)\n(?!\n)", path.read_text(encoding="utf-8"))  # a blank line is within a story
        return [{"text": story.strip()} for story in stories]
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            table: list[dict[str, Any]] = list(csv.DictReader(file))
    elif path.suffix == ".jsonl":
        table = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    else:
        table = json.loads(path.read_text(encoding="utf-8"))
    return [_as_pair(source, row) for row in table]


def _as_pair(source: str, row: dict[str, Any]) -> Row:
    if source == "e2e":
        return {"prompt": f"{row['mr']}\n", "target": f" {row['ref']}"}
    if source == "gsm8k":
        return {"prompt": f"{row['question']}\n", "target": row["answer"]}
    if source == "news":
        return {"prompt": row["ctext"] or "", "target": row["text"] or ""}
    asked = f"{row['instruction']}\n{row['input']}" if row["input"] else row["instruction"]
    return {"prompt": f"### Instruction:\n{asked}\n\n### Response:\n", "target": row["output"]}


def _generated(rows: Rows, *, vocabulary: int) -> Iterator[Row]:
    """Words that are a token each."""
    generator = np.random.default_rng(0)
    number = 0
    while True:
        lengths = LENGTHS[rows.source][number % len(LENGTHS[rows.source])]
        number += 1
        texts = [" ".join(f"w{word}" for word in generator.integers(10, vocabulary, length)) for length in lengths]
        yield dict(zip(("prompt", "target") if len(texts) == 2 else ("text",), texts, strict=True))


def write_tokenizer(folder: Path, shape: Shape, *, real: bool) -> None:
    """The one whose vocabulary the shape is named by, or one of as many words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaTokenizerFast, PreTrainedTokenizerFast

    if not real:
        size = shape.sizes["vocab_size"]
        special = {"<pad>": 0, "</s>": 1, "<unk>": 2}
        words = {**special, **{f"w{number}": number for number in range(len(special), size)}}
        made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
        made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        text = PreTrainedTokenizerFast(
            tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", add_bos_token=False
        )
    elif shape.tokenizer == "gpt2":
        file = str(TOKENIZERS / "gpt2" / "tokenizer.json")
        end = "<|endoftext|>"
        text = PreTrainedTokenizerFast(tokenizer_file=file, eos_token=end, bos_token=end, pad_token=end)
    else:
        text = LlamaTokenizerFast.from_pretrained(str(TOKENIZERS / "llama2"), pad_token="<unk>")
    text.save_pretrained(folder)
