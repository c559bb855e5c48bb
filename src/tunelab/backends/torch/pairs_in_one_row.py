"""Encoder-decoder rows without padding: all sources of a micro-batch in one row for the encoder, all targets in one for
the decoder. What a model must be told for that: positions within a document, and biases made of them (T5)."""
# B batch, N tokens of a row, K keys of a document, D documents of a group

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn

from tunelab.backends.torch.inputs import GRID, LENGTHS, Inputs, between, collate, sent
from tunelab.kernels.attention import Rule
from tunelab.kernels.documents import PairRows, document_attention
from tunelab.models.replaced_parts import Replaced
from tunelab.records import Batch

# -------------------------------------------------------------- the rows


def pairs_in_one_row(batch: Batch, model: Any, *, pad: int) -> Inputs:
    """Sources one behind the other, targets too, on the model's device; nothing between them. What a row is filled up
    with at its end is of no document."""
    apart = collate(batch, model, pad=pad, apart=True)
    sources, targets = (np.array([len(getattr(row, side)) for row in batch.rows]) for side in ("source", "ids"))
    source_N, target_N = _filled(int(sources.sum()), GRID), _filled(int(targets.sum()), LENGTHS)
    target_N += LENGTHS if target_N == source_N else 0

    def put(value: np.ndarray) -> Tensor:
        return sent(value.astype(np.int64), model.device)

    def row(padded_BT: Tensor, lengths: np.ndarray, total: int) -> Tensor:
        pieces = zip(padded_BT.cpu().numpy(), lengths.tolist(), strict=True)
        own = np.concatenate([ids[:length] for ids, length in pieces])
        return put(np.pad(own, (0, total - len(own)), constant_values=pad)[None])

    starts = np.cumsum(targets) - targets
    chosen = [start + np.flatnonzero(row.supervised) for start, row in zip(starts, batch.rows, strict=True)]
    groups = PairRows(
        between(sources, causal=False),
        between(targets, causal=True),
        between(targets, sources, causal=False),
        put(_positions(sources, source_N)),
        put(_positions(targets, target_N)),
    )
    forward = {
        "input_ids": row(apart.forward["input_ids"], sources, source_N),
        "decoder_input_ids": row(apart.forward["decoder_input_ids"], targets, target_N),
    }
    return Inputs(forward, put(np.concatenate(chosen)), apart.target_S, apart.row_S, groups)


def _filled(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def _positions(lengths: np.ndarray, total: int) -> np.ndarray:
    """Of a row's tokens within their documents; 0 of what it is filled up with."""
    used = int(lengths.sum())
    positions = np.zeros(total, dtype=np.int64)
    positions[:used] = np.arange(used) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return positions


# -------------------------------------------------------------- what a model is told


def replacements(model: nn.Module, now: Callable[[], Any]) -> list[Replaced] | None:
    """What makes positions those within documents, while `now()` gives a PairRows; None: the model's cannot be told."""
    found: list[Replaced] = []
    part: Any
    for part in model.modules():
        if hasattr(part, "compute_bias") and hasattr(part, "relative_attention_bias"):
            if list(inspect.signature(part.compute_bias).parameters)[:2] != ["query_length", "key_length"]:
                return None  # of blocks, in LongT5's encoder
            found.append(Replaced(part, "compute_bias", _bias_of_widest(part.compute_bias, now)))
        elif "Positional" in type(part).__name__:
            if "position_ids" not in inspect.signature(part.forward).parameters:
                return None
            found.append(Replaced(part, "forward", _at_positions(part.forward, now)))
    return found


def _bias_of_widest(compute: Callable[..., Tensor], now: Callable[[], Any]) -> Callable[..., Tensor]:
    """T5's bias of a query's and a key's position: of the longest document instead of the row."""

    def bias(query_length: int, key_length: int, *rest: Any, **named: Any) -> Tensor:
        between = now().between(query_length, key_length) if isinstance(now(), PairRows) else None
        return compute(*((query_length, key_length) if between is None else between.widths), *rest, **named)

    return bias


def _at_positions(forward: Callable[..., Tensor], now: Callable[[], Any]) -> Callable[..., Tensor]:
    """An embedding of positions, which is given ids or their shape."""

    def embedded(ids: Any, *rest: Any, **named: Any) -> Tensor:
        rows = now()
        if isinstance(rows, PairRows):
            length = (ids.shape if isinstance(ids, Tensor) else ids)[1]
            for positions in (rows.source_positions, rows.target_positions):
                if len(positions) == length:
                    return forward(ids, *rest, **{**named, "position_ids": positions})
        return forward(ids, *rest, **named)

    return embedded


def pairs_attended(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: Tensor | None, rows: PairRows, rule: Rule
) -> Tensor:
    """An attention function's work, shape (1, N, H, D). Raises NotImplementedError where it does more than is known."""
    between = rows.between(query.shape[2], key.shape[2])
    if between is None or mask is not None or len(query) != 1:
        raise NotImplementedError("an attention that is neither a source's, nor a target's, nor between the two")
    if bias is not None and between is rows.across:
        if bias.grad_fn is not None:
            raise NotImplementedError("a trained bias between targets and sources")
        bias = None  # zeros, which T5 makes
    if bias is not None and tuple(bias.shape[-2:]) != between.widths:
        raise NotImplementedError("a bias that is not of positions within a document")
    rule = rule._replace(causal=between.causal)
    y_NHD = document_attention(query.squeeze(0), key.squeeze(0), value.squeeze(0), bias, between.groups, rule)
    return y_NHD[None]
