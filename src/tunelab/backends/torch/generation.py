"""The model that generates: adapters folded into an fp32 copy of the weights, so that text comes as fast as the base's.

Never into bf16: a small update rounds away there, weights and sum alike. A quantised base generates as it is, with its
adapters beside it: unfolding it would take the memory that it is there to save. What was folded is compared with the
trained model on real tokens first; where they differ the trained model generates itself.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from tunelab import device
from tunelab.backends.torch.head import difference
from tunelab.backends.torch.inputs import Inputs
from tunelab.contracts import Method
from tunelab.records import TokenRow

GENERATION_BATCH = 4
"""A generation batch may hold this many times batch.max_tokens: it keeps no activations."""


PROBE_TOKENS = 64
"""Of a prompt on which a folded model is compared with the trained one."""
LIMITS = {"fp32": 1e-3, "bf16": 1e-1, "fp16": 2e-2}
"""Largest difference of two logits of the folded and the trained model, as a share of the largest logit, by the
precision in which the trained one computes."""


def folded(
    model: Any, method: Method | None, notes: list[str], *, differs: Callable[[Any], float], limit: float
) -> Any:
    """Plain fp32 weights, or the model itself: where its base is quantised, where there is no memory for a copy, and
    where folding changes what it computes.

    Args:
        differs: from the folded model to its largest difference from the trained one, as a share of the largest logit.
    """
    if method is not None and method.base_storage != "float":
        return model
    try:
        plain: Any = model if method is None else method.merged(model)
        if any(parameter.dtype != torch.float32 for parameter in plain.parameters()):
            plain = (copy.deepcopy(plain) if plain is model else plain).to(torch.float32)
        if method is None or plain is model or (share := differs(plain.eval())) <= limit:
            return plain
        notes.append(
            f"folding the adapters into the weights changes what the model computes (logits differ by {share:.1e} of "
            "the largest): text was generated through the adapters, more slowly"
        )
        return model
    except (RuntimeError, MemoryError) as error:
        if not device.out_of_memory(error):
            raise
    device.release(model.device)
    notes.append("no memory for an fp32 copy of the weights: text was generated through the adapters, more slowly")
    return model


def largest_difference(plain: Any, trained: Callable[[Inputs], torch.Tensor], inputs: Sequence[Inputs]) -> float:
    """Of a folded model's logits from the trained one's on any of the inputs, as a share of the largest logit; a NaN
    counts as infinitely far."""
    largest = 0.0
    for one in inputs:
        with torch.no_grad():
            trained_SV = trained(one)
            plain_BTV = plain(**one.forward, use_cache=False).logits.float()
        share = difference(plain_BTV.reshape(-1, plain_BTV.shape[-1])[one.index_S], trained_SV)
        largest = max(largest, share if math.isfinite(share) else math.inf)
    return largest


def ends_of_length(prompts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The shortest and the longest prompt; none where there are no prompts."""
    known = sorted((ids for ids in prompts if len(ids) > 1), key=len)
    return [known[0], known[-1]] if known else []


def probes(prompts: Sequence[np.ndarray], vocabulary: int, *, pairs: bool) -> list[TokenRow]:
    """A short and a long prompt, cut to PROBE_TOKENS; tokens that are always the same where there is no prompt."""
    fixed = np.arange(7, 7 + 13 * PROBE_TOKENS, 13, dtype=np.int32) % vocabulary
    rows = []
    for number, ids in enumerate([ids[:PROBE_TOKENS] for ids in ends_of_length(prompts)] or [fixed]):
        supervised = np.ones(len(ids), dtype=bool)
        supervised[0] = pairs  # nothing predicts the first token of a decoder-only model
        rows.append(TokenRow(number, ids, supervised, ids if pairs else None))
    return rows
