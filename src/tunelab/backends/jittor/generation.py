"""Texts by Jittor: the loops of models/decoding.py and models/beams.py over rows that keep keys and values here."""
# B rows, N joining rows, T tokens, G heads for keys and values, S keys, D head size, V vocabulary

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tunelab.backends.jittor.framework import jt
from tunelab.backends.jittor.network import Cache, Inputs, Network
from tunelab.errors import RunError
from tunelab.models.beams import search
from tunelab.models.choosing import Chooser, Text
from tunelab.models.decoding import Rows, decode
from tunelab.models.limits import too_long
from tunelab.records import Decoded, Limits

GENERATION_BATCH = 4
"""Times batch.max_tokens: without gradients a row needs less."""


def generate(
    network: Network,
    texts: Sequence[Text],
    choose: Chooser,
    *,
    pad: int,
    max_tokens: int,
    progress: Callable[[Decoded], None],
) -> None:
    """Write every text's `new`.

    Raises:
        RunError: the model has no positions for the longest prompt and its text.
    """
    longest = max((len(text.prompt) for text in texts), default=0)
    limits = Limits(None, network.architecture.positions, network.architecture.vocabulary)
    if why := too_long(limits, longest_prompt=longest, max_new_tokens=choose.settings.max_new_tokens):
        raise RunError(why)
    num_tokens = 0

    def told(finished: Sequence[Text], new: int) -> None:
        nonlocal num_tokens
        num_tokens += new
        progress(Decoded({text.number: text.new for text in finished}, num_tokens))

    ordered = sorted(texts, key=lambda text: -len(text.prompt))
    with jt.no_grad():
        write = decode if choose.settings.beams == 1 else search
        write(JittorRows(network, pad), ordered, choose, max_tokens=max_tokens, told=told)


class KeysValues(Cache):
    """By layer, shape (B, G, S, D)."""

    def __init__(self) -> None:
        self.held: dict[int, tuple[Any, Any]] = {}

    def extend(self, layer: int, key_BGTD: Any, value_BGTD: Any) -> tuple[Any, Any]:
        if layer in self.held:
            pairs = zip(self.held[layer], (key_BGTD, value_BGTD), strict=True)
            key_BGTD, value_BGTD = (jt.concat([old, new], dim=2) for old, new in pairs)
        self.held[layer] = key_BGTD, value_BGTD
        return key_BGTD, value_BGTD

    def gather(self, rows: list[int]) -> None:
        index = jt.array(np.asarray(rows, dtype=np.int32))
        self.held = {layer: (key[index], value[index]) for layer, (key, value) in self.held.items()}


class JittorRows(Rows):
    """Rows begin together, padded on the left, and finished ones leave."""

    refills = False

    def __init__(self, network: Network, pad: int) -> None:
        super().__init__()
        self.network, self.pad = network, pad
        self.cache = KeysValues()
        self.real_BS = np.zeros((0, 0), dtype=bool)
        """Which keys are no padding."""

    def join(self, texts: list[Text]) -> np.ndarray:
        width = max(1, *(len(text.prompt) for text in texts)) if len(texts) > 1 else max(1, len(texts[0].prompt))
        ids_NT = np.full((len(texts), width), self.pad, dtype=np.int64)
        self.real_BS = np.zeros((len(texts), width), dtype=bool)
        for row, text in enumerate(texts):
            ids_NT[row, width - len(text.prompt) :] = text.prompt
            self.real_BS[row, width - len(text.prompt) :] = True
        self.texts[:], self.cache = texts, KeysValues()
        positions_NT = np.maximum(self.real_BS.cumsum(axis=1) - 1, 0)
        seen_NTS = np.tri(width, dtype=bool)[None] & self.real_BS[:, None]
        return self._scores(Inputs(ids_NT, positions_NT, seen_NTS))

    def step(self) -> np.ndarray:
        ids_B1 = np.array([[self.pad if text is None else text.new[-1]] for text in self.texts], dtype=np.int64)
        positions_B1 = np.array([[0 if text is None else len(text) - 1] for text in self.texts], dtype=np.int64)
        self.real_BS = np.pad(self.real_BS, ((0, 0), (0, 1)), constant_values=True)
        seen_B1S = None if self.real_BS.all() else self.real_BS[:, None]
        return self._scores(Inputs(ids_B1, positions_B1, seen_B1S))

    def gather(self, rows: list[int]) -> None:
        self.real_BS = self.real_BS[rows]
        self.cache.gather(rows)

    def _scores(self, inputs: Inputs) -> np.ndarray:
        batch, width = inputs.ids_BT.shape
        hidden_NH = self.network.hidden(inputs, cache=self.cache)
        last = np.arange(1, batch + 1, dtype=np.int32) * width - 1
        scores_BV = np.array(self.network.logits(hidden_NH[jt.array(last)]).numpy())
        jt.sync([each for pair in self.cache.held.values() for each in pair])
        return scores_BV
