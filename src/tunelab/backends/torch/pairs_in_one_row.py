"""Encoder-decoder rows without padding: all sources of a micro-batch in one row for the encoder, all targets in one for
the decoder. What a model must be told for that: positions within a document, and biases made of them (T5)."""
# B batch, N tokens of a row, K keys of a document, D documents of a group

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn

from tunelab.backends.torch.inputs import GRID, LENGTHS, Inputs, _groups, collate, sent
from tunelab.kernels.attention import Documents, Rule
from tunelab.kernels.document_pairs import Alone, Between, DocumentPairs, PairRows, pair_attention
from tunelab.records import Batch

Replacement = tuple[nn.Module, str, Callable[..., Any]]
"""A part of a model, a method's name, and what stands in its place."""
Put = Callable[[np.ndarray], Tensor]
"""To the model's device."""
MOST_TOGETHER = 128
"""Tokens of documents that are computed beside each other; longer ones fill a product alone, and nothing of them is
gathered."""


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
        _between([sources], [source_N], put, causal=False),
        _between([targets], [target_N], put, causal=True),
        _between([targets, sources], [target_N, source_N], put, causal=False),
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


def _between(lengths: list[np.ndarray], totals: list[int], put: Put, *, causal: bool) -> Between:
    """Args: of queries and of keys, or of both at once."""
    members: dict[tuple[int, ...], list[int]] = defaultdict(list)
    widths = [[_filled(length, LENGTHS) for length in side.tolist()] for side in lengths]
    for number, width in enumerate(zip(*widths, strict=True)):
        members[(number,) if max(width) > MOST_TOGETHER else (-1, *width)].append(number)
    groups = []
    for own in members.values():
        queries, *others = (_side(side, own, total, put) for side, total in zip(lengths, totals, strict=True))
        keys = others[0] if others else queries
        seen = (None, 0) if causal else _seen(lengths[-1][own], keys, put)
        groups.append(DocumentPairs(queries, keys, *seen))
    widest = [max(group.widths[side] for group in groups) for side in (0, 1)]
    return Between(tuple(groups), causal, (widest[0], widest[1]))


def _side(lengths: np.ndarray, own: list[int], total: int, put: Put) -> Documents | Alone:
    """The documents of these numbers, all of about one length."""
    starts = np.cumsum(lengths) - lengths
    if len(own) == 1:
        start, length = int(starts[own[0]]), int(lengths[own[0]])
        return Alone(start, length, min(_filled(length, LENGTHS), total - start))
    (fields,) = _groups(starts[own].tolist(), lengths[own].tolist())
    return Documents(*map(put, fields))


def _seen(lengths: np.ndarray, keys: Documents | Alone, put: Put) -> tuple[Tensor | None, int]:
    """The last fields of DocumentPairs."""
    width, shortest = keys.width if isinstance(keys, Alone) else keys.index_DT.shape[1], int(lengths.min())
    if shortest == width:
        return None, width
    seen_DK = np.arange(width) < lengths[:, None]
    return put(seen_DK[:, None, None]).bool(), shortest


# -------------------------------------------------------------- what a model is told


def replacements(model: nn.Module, now: Callable[[], Any]) -> list[Replacement] | None:
    """What makes positions those within documents, while `now()` gives a PairRows; None: the model's cannot be told."""
    found: list[Replacement] = []
    part: Any
    for part in model.modules():
        if hasattr(part, "compute_bias") and hasattr(part, "relative_attention_bias"):
            if list(inspect.signature(part.compute_bias).parameters)[:2] != ["query_length", "key_length"]:
                return None  # of blocks, in LongT5's encoder
            found.append((part, "compute_bias", _bias_of_widest(part.compute_bias, now)))
        elif "Positional" in type(part).__name__:
            if "position_ids" not in inspect.signature(part.forward).parameters:
                return None
            found.append((part, "forward", _at_positions(part.forward, now)))
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
    y_NHD = pair_attention(query.squeeze(0), key.squeeze(0), value.squeeze(0), bias, between.groups, rule)
    return y_NHD[None]
