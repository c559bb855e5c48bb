"""GPT-2 and LLaMA-like models in Jittor, as functions of weights by transformers' names.

No nn.Module: its eval() stops every gradient, its load_state_dict raises nothing, and any attribute counts as a
parameter. Matrices are multiplied in two dimensions, which oneDNN takes.
"""
# B batch, T tokens, N = B * T, H hidden, G heads for keys and values, Q heads of a group, D head size, S keys

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from tunelab.backends.jittor.architecture import Architecture, embedding, layer_path, norms
from tunelab.backends.jittor.framework import jt

HIDDEN = -1e9
"""Added to scores that may not be seen: a row of -inf alone would be nan."""


class Change(Protocol):
    """What a method adds to a linear layer's output."""

    def __call__(self, x_NI: Any, *, training: bool) -> Any: ...


class Cache(Protocol):
    """Keys and values of the tokens before, by layer."""

    def extend(self, layer: int, key_BGTD: Any, value_BGTD: Any) -> tuple[Any, Any]: ...


class Inputs(NamedTuple):
    """What the model reads."""

    ids_BT: np.ndarray
    positions_BT: np.ndarray
    seen_BTS: np.ndarray | None = None
    """Whether a token sees a key, where that is not simply every earlier one. bool."""


class Network:
    def __init__(self, architecture: Architecture, weights: Mapping[str, np.ndarray]) -> None:
        self.architecture = architecture
        self.weights: dict[str, Any] = {name: jt.array(value) for name, value in weights.items()}
        self.changes: dict[str, Change] = {}
        """By module path."""
        self._head = embedding(architecture) if architecture.tied else "lm_head.weight"

    @property
    def head_VH(self) -> Any:
        return self.weights[self._head]

    def outputs(self, path: str) -> int:
        """Of a linear layer."""
        return self.weights[f"{path}.weight"].shape[1 if self.architecture.transposed else 0]

    @property
    def head_name(self) -> str:
        return self._head

    def hidden(self, inputs: Inputs, *, training: bool = False, cache: Cache | None = None) -> Any:
        """What the output head reads, shape (N, H)."""
        each = self.architecture
        batch, width = inputs.ids_BT.shape
        x_NH = self._embedded(inputs, training=training)
        turn = None if each.positions is not None else _rotation(inputs.positions_BT, each.frequencies)
        masks: dict[int | None, Any] = {}
        for number in range(each.num_layers):
            window = each.windows[number]
            if window not in masks:
                masks[window] = _mask(inputs, width, window)
            path, (first, second) = layer_path(each, number), norms(each)
            at = _Place(path, number, batch, width, masks[window], turn, cache)
            x_NH = x_NH + self._attention(self._normed(f"{path}.{first}", x_NH), at, training=training)
            x_NH = x_NH + self._feed_forward(self._normed(f"{path}.{second}", x_NH), path, training=training)
        return self._normed("transformer.ln_f" if each.kind == "gpt2" else "model.norm", x_NH)

    def logits(self, hidden_NH: Any) -> Any:
        return jt.nn.matmul_transpose(hidden_NH, self.head_VH)

    def _embedded(self, inputs: Inputs, *, training: bool) -> Any:
        each = self.architecture
        x_NH = self.weights[embedding(each)][jt.array(_indices(inputs.ids_BT))]
        if each.positions is not None:
            x_NH = x_NH + self.weights["transformer.wpe.weight"][jt.array(_indices(inputs.positions_BT))]
        return dropped(x_NH, each.dropouts.embedding, training=training)

    def _linear(self, path: str, x_NI: Any, *, training: bool) -> Any:
        weight = self.weights[f"{path}.weight"]
        y_NO = jt.matmul(x_NI, weight) if self.architecture.transposed else jt.nn.matmul_transpose(x_NI, weight)
        if f"{path}.bias" in self.weights:
            y_NO = y_NO + self.weights[f"{path}.bias"]
        change = self.changes.get(path)
        return y_NO if change is None else y_NO + change(x_NI, training=training)

    def _normed(self, path: str, x_NH: Any) -> Any:
        """LayerNorm, or RMSNorm where there is no bias."""
        weight_H, eps = self.weights[f"{path}.weight"], self.architecture.eps
        if f"{path}.bias" in self.weights:
            x_NH = x_NH - x_NH.mean(dim=1, keepdims=True)
        scale_N1 = 1.0 / jt.sqrt((x_NH * x_NH).mean(dim=1, keepdims=True) + eps)
        y_NH = x_NH * scale_N1 * weight_H
        return y_NH + self.weights[f"{path}.bias"] if f"{path}.bias" in self.weights else y_NH

    def _feed_forward(self, x_NH: Any, path: str, *, training: bool) -> Any:
        if self.architecture.kind == "gpt2":
            inner = gelu_new(self._linear(f"{path}.mlp.c_fc", x_NH, training=training))
            y_NH = self._linear(f"{path}.mlp.c_proj", inner, training=training)
            return dropped(y_NH, self.architecture.dropouts.residual, training=training)
        gate = self._linear(f"{path}.mlp.gate_proj", x_NH, training=training)
        up = self._linear(f"{path}.mlp.up_proj", x_NH, training=training)
        return self._linear(f"{path}.mlp.down_proj", gate * jt.sigmoid(gate) * up, training=training)

    def _attention(self, x_NH: Any, at: _Place, *, training: bool) -> Any:
        each = self.architecture
        query, key, value = self._query_key_value(x_NH, at, training=training)
        if at.cache is not None:
            key, value = at.cache.extend(at.layer, key, value)
        group = each.heads // each.kv_heads
        rows, keys = at.batch * each.kv_heads, key.shape[2]
        query = query.reshape(rows, group * at.width, each.head_size)
        key, value = key.reshape(rows, keys, each.head_size), value.reshape(rows, keys, each.head_size)
        scores = jt.nn.bmm_transpose(query, key) * (1.0 / math.sqrt(each.head_size))
        scores = scores.reshape(at.batch, each.heads, at.width, keys)
        weights = _softmax(scores if at.mask is None else scores + at.mask)
        weights = dropped(weights, each.dropouts.attention, training=training)
        mixed = jt.nn.bmm(weights.reshape(rows, group * at.width, keys), value)
        mixed = mixed.reshape(at.batch, each.heads, at.width, each.head_size).transpose(0, 2, 1, 3)
        mixed = mixed.reshape(at.batch * at.width, each.heads * each.head_size)
        if each.kind != "gpt2":
            return self._linear(f"{at.path}.self_attn.o_proj", mixed, training=training)
        y_NH = self._linear(f"{at.path}.attn.c_proj", mixed, training=training)
        return dropped(y_NH, each.dropouts.residual, training=training)

    def _query_key_value(self, x_NH: Any, at: _Place, *, training: bool) -> tuple[Any, Any, Any]:
        """Shapes (B, G * Q, T, D) and twice (B, G, T, D)."""
        each = self.architecture

        def by_head(y_NO: Any, heads: int) -> Any:
            return y_NO.reshape(at.batch, at.width, heads, each.head_size).transpose(0, 2, 1, 3)

        if each.kind == "gpt2":
            fused = self._linear(f"{at.path}.attn.c_attn", x_NH, training=training)
            parts = (fused[:, start : start + each.hidden] for start in range(0, 3 * each.hidden, each.hidden))
            query, key, value = (by_head(part, each.heads) for part in parts)
            return query, key, value
        heads = {"q_proj": each.heads, "k_proj": each.kv_heads, "v_proj": each.kv_heads}
        query, key, value = (
            by_head(self._linear(f"{at.path}.self_attn.{name}", x_NH, training=training), count)
            for name, count in heads.items()
        )
        assert at.turn is not None
        return _turned(query, at.turn), _turned(key, at.turn), value


class _Place(NamedTuple):
    """Where in the model, and in which batch."""

    path: str
    layer: int
    batch: int
    width: int
    mask: Any
    turn: tuple[Any, Any] | None
    cache: Cache | None


def _indices(values_BT: np.ndarray) -> np.ndarray:
    """Jittor reads int64 as int32 and does not say what lies outside a table; callers have checked."""
    return values_BT.reshape(-1).astype(np.int32)


def _mask(inputs: Inputs, width: int, window: int | None) -> Any:
    """Added to scores, shape (1 or B, 1, T, S); None: nothing is hidden."""
    if inputs.seen_BTS is not None:
        seen = inputs.seen_BTS[:, None]
        if window is not None and seen.shape[3] > window:
            keys = seen.shape[3]
            age = (np.arange(keys - width, keys)[:, None] - np.arange(keys)[None])[None, None]
            seen = seen & (age < window)
    elif width == 1:
        return None
    else:
        age = np.arange(width)[:, None] - np.arange(width)[None]
        seen = ((age >= 0) & (age < (window or width)))[None, None]
    return jt.array(np.where(seen, 0.0, HIDDEN).astype(np.float32))


def _softmax(scores: Any) -> Any:
    powers = jt.exp(scores - scores.max(dim=3, keepdims=True).stop_grad())
    return powers / powers.sum(dim=3, keepdims=True)


def _rotation(positions_BT: np.ndarray, frequencies: tuple[float, ...]) -> tuple[Any, Any]:
    """Cosine and sine, shape (B, 1, T, D / 2)."""
    angles = positions_BT[:, None, :, None].astype(np.float32) * np.asarray(frequencies, dtype=np.float32)
    return jt.array(np.cos(angles)), jt.array(np.sin(angles))


def _turned(x: Any, turn: tuple[Any, Any]) -> Any:
    """The first half of each head's values beside the second, as transformers pairs them."""
    half = x.shape[3] // 2
    first, second = x[:, :, :, :half], x[:, :, :, half:]
    cos, sin = turn
    return jt.concat([first * cos - second * sin, second * cos + first * sin], dim=3)


def gelu_new(x: Any) -> Any:
    """By 0.5 (1 + tanh(u)) = sigmoid(2 u): Jittor's gradient of tanh is nan from |u| = 60 on."""
    return x * jt.sigmoid(2.0 * math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x))


def dropped(x: Any, share: float, *, training: bool) -> Any:
    if not (training and share):
        return x
    keep = 1.0 - share
    return x * ((jt.rand(x.shape) < keep).float32() * (1.0 / keep))
