"""Texts as coco-caption's metrics see them: Stanford's PTB tokens in lower case, without punctuation.

The tokeniser is the jar itself, called once for all outputs and once for all references of a corpus, as the E2E
challenge script does (tuetschek/e2e-metrics 1b9c4d8, pycocoevalcap/tokenizer/ptbtokenizer.py lines 24-69). A period
after an abbreviation can depend on the line that follows, but periods are among what is removed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from tunelab.errors import CannotScore
from tunelab.evaluation.java import TOKENISER
from tunelab.records import Prediction

PUNCTUATION = frozenset(
    ("''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";")
)
"""Brackets stand here in capitals while the tokens are in lower case: they stay, as in the script."""
LINE_BREAKS = re.compile("\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]")
"""What the tokeniser takes for the end of a line."""


class Captions(NamedTuple):
    """One example, tokens joined by blanks; a text without any is ''."""

    output: str
    references: list[str]


def captions(name: str, predictions: Sequence[Prediction]) -> list[Captions]:
    """The examples as `name`, a metric, reads them.

    Raises:
        CannotScore: no Java or no tokeniser here.
    """
    for row in predictions:
        assert row.prediction is not None, f"example {row.id}: {name} needs generated text"
        assert row.references, f"example {row.id}: {name} needs a reference"
    outputs = ptb_lines(tuple(row.prediction for row in predictions))
    references = iter(ptb_lines(tuple(text for row in predictions for text in row.references)))
    return [
        Captions(output, [next(references) for _ in row.references])
        for output, row in zip(outputs, predictions, strict=True)
    ]


@lru_cache(maxsize=8)
def ptb_lines(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The tokens of each text. Kept for the metrics that follow on the same texts."""
    if not texts:
        return ()
    lines = TOKENISER.run("\n".join(LINE_BREAKS.sub(" ", text) for text in texts)).split("\n")
    # The tokeniser ends the last line where the input did not.
    lines += [""] * (len(texts) - len(lines))
    if any(lines[len(texts) :]):
        raise CannotScore(f"{TOKENISER.name} made {len(lines)} lines of {len(texts)} texts")
    return tuple(_without_punctuation(line) for line in lines[: len(texts)])


def _without_punctuation(line: str) -> str:
    return " ".join(token for token in line.rstrip().split(" ") if token not in PUNCTUATION)
