"""Attention while texts are generated: what is quickest for one new token a row, and beams that share keys and values.

Of beams that share, a prompt's keys and values are held and read once, not once a beam: a beam's query attends to its
prompt's keys, which all beams of the prompt share, and to those of its own new tokens, under one softmax. An
encoder-decoder's beams share all that its cross-attention reads. Installed through transformers' AttentionInterface for
the length of a call; whether a model's scores stay what they are is asked of `check`.
"""
# G prompts, K beams of each, B = G * K rows, P prompt tokens, T new tokens
# H heads, M heads of keys, R = H / M, X = K * R, D head size

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from tunelab import device
from tunelab.models.few_queries import few_queries_attention, library_products
from tunelab.models.replaced_parts import NotReplaced, ReplacedAttention, ReplacedParts, gelus

NAME = "tunelab_generation"
UNLIKE = ("softcap", "s_aux", "sliding_window", "position_bias")
"""What some models' attention has beside queries, keys, values and mask, and this one has not."""
FEW = 128
"""Queries of a row whose scores are held as a whole."""
LIMIT = 1e-3
"""Largest difference of two scores from another calculation of them in fp32, as a share of the largest score."""
ROUNDED_LIMIT = 1e-1
"""The same in other types."""


class SharedKeys:
    """Of prompts: keys and values of every layer, shape (G, M, P, D); rows are aligned on the right."""

    def __init__(self, keys: Sequence[Tensor], values: Sequence[Tensor], mask_GP: Tensor) -> None:
        self.keys, self.values, self.mask_GP = list(keys), list(values), mask_GP
        self.uses = 0
        """How often a layer has asked."""

    def __len__(self) -> int:
        return len(self.mask_GP)

    def select(self, prompts: Sequence[int]) -> None:
        """Keep these prompts, in this order."""
        if list(prompts) == list(range(len(self))):
            return
        kept_G = torch.tensor(prompts, device=self.mask_GP.device)
        self.keys, self.values = ([held[kept_G] for held in all_held] for all_held in (self.keys, self.values))
        self.mask_GP = self.mask_GP[kept_G]

    def keep(self, length: int) -> None:
        """So many of the last tokens of each; nothing is copied."""
        count = self.mask_GP.shape[1] - max(1, length)
        if count > 0:
            self.keys, self.values = ([held[:, :, count:] for held in every] for every in (self.keys, self.values))
            self.mask_GP = self.mask_GP[:, count:]

    def append(self, other: SharedKeys) -> None:
        """Behind these prompts; the shorter ones get masked tokens on the left."""
        width = max(self.mask_GP.shape[1], other.mask_GP.shape[1])
        for name in ("keys", "values"):
            pairs = zip(getattr(self, name), getattr(other, name), strict=True)
            joined = [torch.cat([_wider(held, width, dim=2) for held in pair]) for pair in pairs]
            setattr(self, name, joined)
        self.mask_GP = torch.cat([_wider(held, width, dim=1) for held in (self.mask_GP, other.mask_GP)])


_PROMPTS: ContextVar[SharedKeys | None] = ContextVar("_PROMPTS", default=None)
_ASKED: ContextVar[set[str] | None] = ContextVar("_ASKED", default=None)
"""Classes of the layers that have asked for this attention."""


class Attending:
    """How the rows of one model attend while texts are generated.

    Raises:
        NotReplaced: its attention is not transformers' sdpa.
    """

    def __init__(self, model: Any) -> None:
        from transformers.masking_utils import sdpa_mask

        parts = list(model.modules())
        self.replaced, self.gelu = ReplacedAttention(parts, NAME, _attention, sdpa_mask), ReplacedParts(gelus(parts))
        if not self.replaced:
            raise NotReplaced("its attention is not transformers' sdpa")
        self._asked: set[str] = set()
        self._is_exact = model.dtype == torch.float32 and not torch.is_autocast_enabled(model.device.type)

    @contextmanager
    def attending(self, prompts: SharedKeys | None = None) -> Iterator[None]:
        """While it lasts rows attend as above; to these prompts, if any.

        Raises:
            NotReplaced: what the model asks of attention is more than that.
        """
        tokens = _PROMPTS.set(prompts), _ASKED.set(self._asked)
        self.replaced.put()
        self.gelu.put()
        try:
            yield
        finally:
            self.gelu.take_away()
            self.replaced.take_away()
            _PROMPTS.reset(tokens[0])
            _ASKED.reset(tokens[1])
        if not self._asked:  # it may have gone another way of its own, with a mask that is not meant for that (Falcon)
            raise NotReplaced("its layers do not ask transformers' registry of attention functions")

    def check(self, scores_NV: Tensor, wanted_NV: Tensor) -> None:
        """Raises NotReplaced where scores are not what the model itself gives of the same texts."""
        difference, largest = (scores_NV - wanted_NV).abs().max(), wanted_NV.abs().max()
        if not difference <= (LIMIT if self._is_exact else ROUNDED_LIMIT) * largest:
            raise NotReplaced(f"scores differ by {float(difference / largest):.1e} of the largest")


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor | None]:
    if (asked := _ASKED.get()) is not None:
        asked.add(type(module).__name__)
    try:
        with library_products(query.device):
            return _attended(module, query, key, value, attention_mask, **options), None
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if device.out_of_memory(error):
            raise
        raise NotReplaced((str(error).splitlines() or [type(error).__name__])[0]) from error


def _attended(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> Tensor:
    prompts, beams = _PROMPTS.get(), query.shape[0] // key.shape[0]
    if query.shape[2] == 1 and beams > 1:
        options = {**options, "is_causal": False}
        attended = _alone(module, _beside(query, beams), key, value, attention_mask, **options)
        return attended.reshape(query.shape[0], 1, *attended.shape[2:])
    if prompts is None:
        return _alone(module, query, key, value, attention_mask, **options)
    if unlike := [name for name in UNLIKE if options.get(name) is not None]:
        raise NotReplaced(f"its attention has a {unlike[0]}")
    assert attention_mask is not None
    prompts.uses += 1
    return _joint(query, key, value, attention_mask, prompts, module.layer_idx, _scale(query, options))


def _alone(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> Tensor:
    """Of rows that share nothing. Without a mask only one query is known to see all keys."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    is_few = query.shape[2] == 1 or (query.shape[2] <= FEW and attention_mask is not None)
    special = any(options.get(name) is not None for name in ("softcap", "s_aux"))
    if not is_few or special or query.device.type != "cpu" or query.dtype != torch.float32:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)[0]
    bias, mask = options.get("position_bias"), attention_mask
    if mask is not None and mask.dtype != torch.bool:
        bias, mask = mask if bias is None else bias + mask, None
    return few_queries_attention(query, key, value, bias, mask, _scale(query, options))


def _scale(query: Tensor, options: dict[str, Any]) -> float:
    return query.shape[-1] ** -0.5 if options.get("scaling") is None else options["scaling"]


def _joint(
    query_BH1D: Tensor,
    key_BMTD: Tensor,
    value_BMTD: Tensor,
    mask_B11T: Tensor,
    prompts: SharedKeys,
    layer: int,
    scaling: float,
) -> Tensor:
    """Shape (B, 1, H, D)."""
    prompt_key_GMPD, prompt_value_GMPD = prompts.keys[layer], prompts.values[layer]
    num_rows, heads, _, size = query_BH1D.shape
    num_prompts, key_heads, length, _ = prompt_key_GMPD.shape
    beams = num_rows // num_prompts
    query_BMRD = (query_BH1D * scaling).reshape(num_rows, key_heads, heads // key_heads, size)
    query_GMXD = query_BMRD.reshape(num_prompts, beams, *query_BMRD.shape[1:]).transpose(1, 2).flatten(2, 3)
    to_prompt_GMXP = torch.matmul(query_GMXD, prompt_key_GMPD.transpose(2, 3))
    lowest = torch.finfo(to_prompt_GMXP.dtype).min
    to_prompt_GMXP.masked_fill_(~prompts.mask_GP[:, None, None], lowest)
    to_new_BMRT = torch.matmul(query_BMRD, key_BMTD.transpose(2, 3)).masked_fill_(~mask_B11T, lowest)
    spread_GMKRP = to_prompt_GMXP.unflatten(2, (beams, -1)).transpose(1, 2)
    both = torch.cat([spread_GMKRP.reshape(*to_new_BMRT.shape[:3], length), to_new_BMRT], dim=-1)
    weights = torch.softmax(both, dim=-1)
    of_new_BMRD = torch.matmul(weights[..., length:], value_BMTD)
    prompt_weights = weights[..., :length].unflatten(0, (num_prompts, beams)).transpose(1, 2).flatten(2, 3)
    of_prompt_GMXD = torch.matmul(prompt_weights, prompt_value_GMPD)
    of_prompt = of_prompt_GMXD.unflatten(2, (beams, -1)).transpose(1, 2).flatten(0, 1)
    return (of_new_BMRD + of_prompt).reshape(num_rows, 1, heads, size)


def _beside(query_BH1D: Tensor, beams: int) -> Tensor:
    """The beams of a prompt as if they were its tokens: (G, H, K, D)."""
    return query_BH1D[:, :, 0].unflatten(0, (-1, beams)).transpose(1, 2)


def _wider(held: Tensor, width: int, *, dim: int) -> Tensor:
    missing = width - held.shape[dim]
    return held if not missing else torch.nn.functional.pad(held, (0, 0) * (held.ndim - 1 - dim) + (missing, 0))
