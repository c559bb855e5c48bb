"""Layers that compute what the model's own do in less time, put in their place while a context lasts.

Attention on a CPU (kernels/attention.py instead of torch's flash kernel) through transformers' registry of attention
functions, and GELU's tanh form, which transformers writes as eight operations, as torch's one. With this attention
documents can lie in one row, so that nothing is padded: it is told where each begins, and no mask is made. Whether the
model with them is the model without them is measured by `Paths.verify` on real rows, logits and gradients.
"""
# B batch, H heads, G heads of keys and values, T queries, K keys, D of a head, N tokens of a row with several documents

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tunelab.backends.torch import pairs_in_one_row
from tunelab.backends.torch.layers import replacements
from tunelab.kernels.attention import Rule, attention
from tunelab.kernels.documents import Between, PairRows, document_attention
from tunelab.models.replaced_parts import ReplacedAttention, ReplacedParts

NAME = "tunelab_products"
"""Of our attention in transformers' registry."""
MOST_QUERIES = 768
"""Of a causal row; of longer ones the flash kernel, which leaves out what lies behind the diagonal, is as fast."""
LONGEST = 1024
"""Tokens of a document among several in one row, for the same reason."""
WINDOWS = ("sliding_window", "attention_chunk_size")
"""Of configurations: how far a token sees, if not to the first."""

Places = Between | PairRows
"""Where the documents of a row lie, or those of an encoder's row and a decoder's."""

_groups: list[Places | None] = []
"""Where the documents of the pass that is made now lie: attention functions are given a layer, and no session."""


class Faster:
    def __init__(self, model: nn.Module) -> None:
        parts = list(model.modules())
        on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
        self._replaced = ReplacedAttention(parts if on_cpu else (), NAME, _products, _mask)
        windows = [getattr(config, name, None) for config in self._replaced.configs for name in WINDOWS]
        self.longest = min([LONGEST, *(window for window in windows if window)]) if self._replaced else 0
        """Tokens of a document that may lie in one row with others; 0: none may."""
        told = pairs_in_one_row.replacements(model, lambda: _groups[-1]) if self._replaced else None
        self.pairs = told is not None and bool(model.config.is_encoder_decoder)  # pyright: ignore
        """Whether sources may lie in one row, and targets in another."""
        self._parts = ReplacedParts([*replacements(model), *((told or ()) if self.pairs else ())])
        self._depth = 0

    def __bool__(self) -> bool:
        """Whether anything would be another layer."""
        return bool(self._parts or self._replaced)

    @contextmanager
    def at(self, groups: Places | None) -> Iterator[None]:
        """The layers are in place, for a row with these documents or for rows of one each. May be entered inside
        itself."""
        if self._depth == 0:
            self._put()
        self._depth += 1
        _groups.append(groups)
        try:
            yield
        finally:
            _groups.pop()
            self._depth -= 1
            if self._depth == 0:
                self._take_away()

    def _put(self) -> None:
        self._parts.put()
        self._replaced.put()

    def _take_away(self) -> None:
        self._parts.take_away()
        self._replaced.take_away()


def _mask(*arguments: Any, **named: Any) -> Tensor | None:
    """No mask where attention is told of documents: it keeps them apart itself."""
    from transformers.masking_utils import sdpa_mask

    return sdpa_mask(*arguments, **named) if _groups[-1] is None else None


def _products(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """As transformers' `sdpa_attention_forward`, which is asked wherever it is faster or knows more.

    Args:
        query: (B, H, T, D); key and value (B, G, K, D).
        attention_mask: of booleans or numbers to add, (B or 1, H or 1, T or 1, K).
        position_bias: added to the scores, (B or 1, H, T, K).
    """
    num_queries = query.shape[2]
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    causal = causal and attention_mask is None and num_queries > 1
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    draws = int(torch.randint(2**62, ())) if dropout else 0
    special = others.get("softcap") is not None or others.get("s_aux") is not None
    if isinstance(groups := _groups[-1], PairRows):
        if special:
            raise NotImplementedError("documents in one row, and an attention that does more than to look")
        rule = Rule(scale, causal, dropout, draws)
        return pairs_in_one_row.pairs_attended(query, key, value, attention_mask, position_bias, groups, rule), None
    if groups is not None:
        if not causal or position_bias is not None or special:
            raise NotImplementedError("documents in one row, and an attention that does more than to look back")
        rule = Rule(scale, True, dropout, draws)
        y_NHD = document_attention(query.squeeze(0), key.squeeze(0), value.squeeze(0), None, groups.groups, rule)
        return y_NHD[None], None
    bare = attention_mask is None and position_bias is None
    unlike = causal and num_queries != key.shape[2]  # torch's causal rule counts from the first key
    if num_queries == 1 or (bare and num_queries > MOST_QUERIES) or special or unlike:
        return _sdpa()(
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            is_causal=is_causal,
            position_bias=position_bias,
            **others,
        )
    bias, mask = position_bias, attention_mask
    if mask is not None and mask.dtype != torch.bool:
        bias, mask = mask if bias is None else bias + mask, None
    return attention(query, key, value, bias, mask, Rule(scale, causal, dropout, draws)), None


def _sdpa() -> Callable[..., Any]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    return sdpa_attention_forward
