"""Layers that compute what the model's own do in less time, put in their place while a context lasts.

Attention on a CPU (kernels/attention.py instead of torch's flash kernel) through transformers' registry of attention
functions, and GELU's tanh form, which transformers writes as eight operations, as torch's one. Whether the model with
them is the model without them is measured by `Paths.verify` on real rows, loss and gradients.
"""
# B batch, H heads, G heads of keys and values, T queries, K keys, D of a head

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tunelab.kernels.attention import Rule, attention

NAME = "tunelab_products"
"""Of our attention in transformers' registry."""
MOST_QUERIES = 768
"""Of a causal row; of longer ones the flash kernel, which leaves out what lies behind the diagonal, is as fast."""


class Faster:
    """A context manager that may be entered inside itself."""

    def __init__(self, model: nn.Module) -> None:
        parts = list(model.modules())
        self._forwards = [(part, _gelu_tanh) for part in parts if type(part).__name__ == "NewGELUActivation"]
        on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
        configs = {id(part.config): part.config for part in parts if hasattr(part, "config")}.values() if on_cpu else ()
        self._configs: list[Any] = [one for one in configs if getattr(one, "_attn_implementation", None) == "sdpa"]
        self._depth = 0
        if self._configs:
            _register()

    def __bool__(self) -> bool:
        """Whether anything would be another layer."""
        return bool(self._forwards or self._configs)

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth > 1:
            return
        for part, forward in self._forwards:
            part.forward = forward
        for config in self._configs:
            config._attn_implementation = NAME

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth:
            return
        for part, _ in self._forwards:
            del part.forward
        for config in self._configs:
            config._attn_implementation = "sdpa"


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, _products)
    AttentionMaskInterface.register(NAME, sdpa_mask)


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
    bare = attention_mask is None and position_bias is None
    special = others.get("softcap") is not None or others.get("s_aux") is not None
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
    draws = int(torch.randint(2**62, ())) if dropout else 0
    rule = Rule(query.shape[-1] ** -0.5 if scaling is None else scaling, causal, dropout, draws)
    return attention(query, key, value, bias, mask, rule), None


def _sdpa() -> Callable[..., Any]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    return sdpa_attention_forward
