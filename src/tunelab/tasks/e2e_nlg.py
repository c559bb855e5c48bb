"""E2E: a restaurant's meaning representation becomes a sentence (Novikova et al. 2017, arXiv:1706.09254).

The original data of github.com/tuetschek/e2e-dataset, not the cleaned version that GEM/e2e_nlg holds: scores in the
literature on LoRA are on the original. 42,061 rows to train on, 4,672 to validate on; 630 meanings with 4,693
references to test on.

`form: microsoft_lora` writes rows as the NLG example of microsoft/LoRA has them, so that its published numbers are
comparable: 'name : Blue Spice | Type : coffee shop', the text in spaced tokens after a blank. All meanings and
4,690 of the 4,693 references of its test file come out to the letter (tests/tasks/test_e2e_nlg.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt
from typing_extensions import Self

from tunelab.contracts import Task
from tunelab.data.examples.fingerprint import fingerprint, row_options
from tunelab.data.examples.formats import TemplateText, format_rows
from tunelab.data.examples.readable import unreadable
from tunelab.data.examples.rehearsal import SCORED_ROWS, TRAIN_ROWS
from tunelab.data.examples.splits import draw
from tunelab.data.reading.rows import Row
from tunelab.data.sets.named import source_fingerprint, source_rows, write_generated
from tunelab.records import Example

Split = Literal["train", "validation", "test"]
SPACED_NAMES = {"eatType": "Type", "priceRange": "price", "familyFriendly": "family friendly"}
"""Attributes that microsoft/LoRA's form calls otherwise."""


class E2eNlg(Task):
    name: str = "e2e_nlg"

    path: Path | None = None
    """A folder with trainset.csv, devset.csv and testset_w_refs.csv (columns mr, ref); null: the hub."""

    form: Literal["original", "microsoft_lora"] = "original"
    """microsoft_lora: tokens apart, attributes as 'name : value | ...', as that repository's GPT-2 recipe reads them;
    its separator after the meaning is GPT-2's end token: prompt: "{mr}<|endoftext|>"."""

    prompt: TemplateText = "{mr}\n"
    """What the model reads."""

    target: TemplateText = "{ref}"
    """What it learns to write."""

    train_rows: PositiveInt | None = None
    """Train on so many rows, drawn by `seed`; null: all."""

    validation_rows: PositiveInt | None = 500
    """Validate on so many rows, drawn by `seed`; null: all 4,672."""

    test_meanings: PositiveInt | None = None
    """Test on so many meanings with all their references, drawn by `seed`; null: all 630."""

    seed: NonNegativeInt = 0
    """Which rows are drawn."""

    metrics: tuple[str, ...] = ("bleu", "rouge_l")

    def examples(self, split: Split) -> Sequence[Example]:
        rows = source_rows("e2e_nlg", split, path=self.path)
        formatted = format_rows(
            [self._row(row) for row in rows],
            prompt=self.prompt,
            target=self.target,
            split=split,
            source=f"{self.path or self.name} ({split})",
            group=split == "test",
        )
        return draw(formatted.examples, n=self._wanted(split), seed=self.seed)

    def problems(self) -> list[str]:
        return [] if self.path is None else unreadable(self)

    def notes(self, split: Split) -> list[str]:
        wanted = self._wanted(split)
        return [] if wanted is None else [f"{split}: at most {wanted} examples, drawn by seed {self.seed}"]

    def fingerprint(self) -> str:
        rows = source_fingerprint("e2e_nlg", path=self.path)
        return fingerprint(options={**row_options(self, leave_out=("path",)), "rows": rows})

    def rehearsal(self, folder: Path) -> Self:
        write_generated("e2e_nlg", folder, rows=2 * TRAIN_ROWS)
        fewer = {"train_rows": TRAIN_ROWS, "validation_rows": SCORED_ROWS, "test_meanings": SCORED_ROWS}
        return self.model_copy(update={"path": folder, **fewer})

    def _wanted(self, split: Split) -> int | None:
        return {"train": self.train_rows, "validation": self.validation_rows, "test": self.test_meanings}[split]

    def _row(self, row: Row) -> dict[str, Any]:
        meaning, text = row["meaning_representation"], row["human_reference"]
        if self.form == "microsoft_lora":
            return {"mr": spaced_meaning(meaning), "ref": f" {spaced(text)}"}
        return {"mr": meaning, "ref": text}


def spaced_meaning(meaning: str) -> str:
    """'name[Blue Spice], eatType[pub]' -> 'name : Blue Spice | Type : pub'."""
    pairs = re.findall(r"([^\[\],]+)\[([^\]]*)\]", meaning)
    return " | ".join(f"{SPACED_NAMES.get(key.strip(), key.strip())} : {spaced(value)}" for key, value in pairs)


_SPACED = (
    (r"\s+", " "),
    (r"(?<!\S)([£$])(?=\S)", r"\1 "),
    (r"([\"()\[\];:!?,/])", r" \1 "),
    (r"(?<=[A-Za-z])-(?=[A-Za-z])|(?<=\d)-(?=\d)", " - "),
    (r"\.(?=\s|$|[A-Z])", " . "),
    (r"(?<!\S)'(?=[A-Za-z])", "' "),
    (r"n't\b", " n't"),
    (r"(?<=\S)'(s|re|ve|ll|d|m)\b", r" '\1"),
    (r"(\w)'(?=\s|$)", r"\1 '"),
    (r"\b([Tt]hat)s\b", r"\1 s"),
    (r" +", " "),
)
"""Rules found by comparing testset_w_refs.csv with that repository's test.txt, in the order of their use."""


def spaced(text: str) -> str:
    """Tokens apart, as microsoft/LoRA's E2E files have them."""
    for pattern, replacement in _SPACED:
        text = re.sub(pattern, replacement, text)
    return text.strip()
