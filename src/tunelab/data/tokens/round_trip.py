"""Characters of learned texts that their tokens do not give back: line breaks and blanks that a T5 joins, letters that
a normaliser replaces or lowers, characters without a token. No model can learn to write them; references hold them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from tunelab.records import Example

MOST_ROWS = 10_000
"""Decoded of a split: what is lost on these is lost on the others."""


class RoundTrip:
    """Of one split and one tokenizer. One that is known to give every byte back is not asked."""

    def __init__(self, tokenizer: Any, *, encoder_decoder: bool, control: bool) -> None:
        """`control`: special tokens in texts are read as such, so they are no loss."""
        self._tokenizer = None if _gives_every_byte_back(tokenizer) else tokenizer
        self._last_turn_alone, self._control = encoder_decoder, control
        self.rows = self.characters = 0
        self.lost: Counter[str] = Counter()

    def see(self, example: Example, learned: np.ndarray) -> None:
        """`learned`: ids of all that the model is to write of the example, before anything is cut."""
        if self._tokenizer is None or self.rows == MOST_ROWS:
            return
        self.rows += 1
        text = "".join(part.strip() for part in self._texts(example))
        plain = not (self._control or any(example.control))
        given = self._tokenizer.decode(learned.tolist(), skip_special_tokens=plain, clean_up_tokenization_spaces=False)
        self.characters += len(text)
        if text not in given:
            self.lost += Counter(text) - Counter(given)

    def _texts(self, example: Example) -> list[str]:
        if not example.turns:
            return [example.target]
        turns = [turn for turn in example.turns if turn.role == "assistant" and turn.learned]
        return [turn.text for turn in (turns[-1:] if self._last_turn_alone else turns)]


def _gives_every_byte_back(tokenizer: Any) -> bool:
    """Byte-level BPE without a normaliser, as GPT-2's; also what is no tokenizer of transformers (in tests)."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return not hasattr(tokenizer, "decode")
    return backend.normalizer is None and type(backend.decoder).__name__ == "ByteLevel"
