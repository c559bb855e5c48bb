"""Token rows as the tensors a model takes: right padding or documents in one row, packed documents, and where the
supervised tokens are."""
# B batch, T tokens, S supervised positions of the batch, N tokens of one row that has all documents

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tunelab.data.tokens.packing import documents, positions
from tunelab.kernels.documents import Between, Documents, Looking, PairRows
from tunelab.records import Batch, TokenRow

APART = (
    "reference path: this architecture does not keep packed documents apart by their positions, so each is computed as "
    "a row of its own; data.packing: false needs less padding"
)
"""A note."""
GRID = 64
"""What the tokens of one row with all documents are filled up to a multiple of: each size of a product that oneDNN has
not met costs it a kernel's compilation and close to a megabyte."""
LENGTHS = 16
"""Documents whose lengths round up to the same multiple of this are computed beside each other in attention."""
MOST_TOGETHER = 128
"""Tokens of such documents; longer ones fill a product alone, which then comes in fewer sizes."""


class Inputs(NamedTuple):
    """A micro-batch as the model takes it."""

    forward: dict[str, Tensor]
    index_S: Tensor
    """Positions in the flattened (B * T) whose logits predict a supervised token."""
    target_S: Tensor
    row_S: Tensor
    """Which row of the batch each supervised token belongs to."""
    groups: Between | PairRows | None = None
    """Of one row that has all documents, or all sources and all targets; None: each row is a row."""


def collate(batch: Batch, model: Any, *, pad: int, apart: bool) -> Inputs:
    """On the model's device.

    Args:
        apart: each document of a packed row becomes a row of its own; else they are told apart by positions that begin
            again, of which transformers makes the mask where it is given no other.
    """
    pairs = bool(model.config.is_encoder_decoder)
    pieces = [documents(row) if apart else [row] for row in batch.rows]
    rows = [row for own in pieces for row in own]
    width = max(len(row.ids) for row in rows)
    shift = 0 if pairs else 1  # a decoder-only model predicts position t at t - 1
    chosen = [np.flatnonzero(row.supervised) for row in rows]
    index_S = np.concatenate([number * width + places - shift for number, places in enumerate(chosen)])
    target_S = np.concatenate([row.ids[places] for row, places in zip(rows, chosen, strict=True)])
    of_piece = np.repeat(np.arange(len(pieces)), [len(own) for own in pieces])
    row_S = np.repeat(of_piece, [len(places) for places in chosen])
    forward = _pairs(rows, model, pad=pad) if pairs else _joined(rows, pad=pad)
    on_device = {key: sent(value, model.device) for key, value in forward.items()}
    index, target, row = (sent(value.astype(np.int64), model.device) for value in (index_S, target_S, row_S))
    return Inputs(on_device, index, target, row)


def in_one_row(batch: Batch, model: Any, *, pad: int) -> Inputs:
    """All documents of the batch one behind the other in one row, on the model's device; nothing between them. What the
    row is filled up with at its end is a document of its own that attention leaves out."""
    pieces = [documents(row) for row in batch.rows]
    found = [document for own in pieces for document in own]
    lengths = np.array([len(document.ids) for document in found])
    starts, used = np.cumsum(lengths) - lengths, int(lengths.sum())
    total = -(-used // GRID) * GRID
    ids_N, positions_N = np.full(total, pad, dtype=np.int64), np.zeros(total, dtype=np.int64)
    ids_N[:used] = np.concatenate([document.ids for document in found])
    positions_N[:used] = np.arange(used) - np.repeat(starts, lengths)
    chosen = [np.flatnonzero(document.supervised) for document in found]
    index_S = np.concatenate([start + places - 1 for start, places in zip(starts, chosen, strict=True)])
    target_S = np.concatenate([document.ids[places] for document, places in zip(found, chosen, strict=True)])
    of_piece = np.repeat(np.arange(len(pieces)), [len(own) for own in pieces])
    row_S = np.repeat(of_piece, [len(places) for places in chosen])

    def put(value: np.ndarray) -> Tensor:
        return sent(value.astype(np.int64), model.device)

    forward = {"input_ids": put(ids_N[None]), "position_ids": put(positions_N[None])}
    return Inputs(forward, put(index_S), put(target_S), put(row_S), between(lengths, causal=True))


def between(*lengths: np.ndarray, causal: bool) -> Between:
    """Who looks at whom in rows that have documents of these lengths one behind the other.

    Args:
        lengths: of one row, or of the queries' row and of the keys'.
    """
    widths = [(-(-own // LENGTHS) * LENGTHS).tolist() for own in lengths]
    members: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, width in enumerate(zip(*widths, strict=True)):
        members[(number,) if max(width) > MOST_TOGETHER else (-1, *width)].append(number)
    groups = []
    for own in members.values():
        sides = [_documents(each, own, width[own[0]]) for each, width in zip(lengths, widths, strict=True)]
        groups.append(Looking(sides[0], sides[-1], *((None, 0) if causal else _seen(sides[-1]))))
    return Between(tuple(groups), causal, (max(widths[0]), max(widths[-1])))


def _documents(lengths: np.ndarray, own: list[int], width: int) -> Documents:
    """Those of these numbers."""
    starts = np.cumsum(lengths) - lengths
    return Documents(tuple(starts[own].tolist()), tuple(lengths[own].tolist()), width)


def _seen(keys: Documents) -> tuple[Tensor | None, int]:
    """The last fields of Looking."""
    shortest = min(keys.lengths)
    if shortest == keys.width:
        return None, keys.width
    seen_DK = np.arange(keys.width) < np.array(keys.lengths)[:, None]
    return torch.from_numpy(seen_DK[:, None, None]), shortest


def sent(value: np.ndarray, device: torch.device) -> Tensor:
    """On its way to a GPU while this goes on: from pinned memory, which the allocator keeps until it has arrived. A
    batch is assembled while the device still computes the one before, since nothing of a step waits for it; a thread
    that assembles ahead brings nothing beyond (assembling takes less than 0.2 % of a micro-batch's time on a CPU)."""
    tensor = torch.from_numpy(value)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def _joined(rows: list[TokenRow], *, pad: int) -> dict[str, np.ndarray]:
    ids_BT, mask_BT = _right_padded([row.ids for row in rows], pad=pad)
    if any(row.starts for row in rows):
        return {"input_ids": ids_BT, "position_ids": _right_padded([positions(row) for row in rows], pad=0)[0]}
    return {"input_ids": ids_BT, "attention_mask": mask_BT}


def _pairs(rows: list[TokenRow], model: Any, *, pad: int) -> dict[str, np.ndarray]:
    ids_BT, _ = _right_padded([row.ids for row in rows], pad=pad)
    sources = [row.source for row in rows if row.source is not None]
    assert len(sources) == len(rows), "a row without a source"
    source_BT, source_mask_BT = _right_padded(sources, pad=pad)
    decoder_BT = decoder_inputs(torch.from_numpy(ids_BT), model).numpy()
    return {"input_ids": source_BT, "attention_mask": source_mask_BT, "decoder_input_ids": decoder_BT}


def decoder_inputs(labels_BT: Tensor, model: Any) -> Tensor:
    """Labels moved on by one, as the model's own class does it: mBART's begin with the label's last token."""
    if hasattr(model, "prepare_decoder_input_ids_from_labels"):
        return model.prepare_decoder_input_ids_from_labels(labels_BT)
    start_B1 = torch.full_like(labels_BT[:, :1], model.config.decoder_start_token_id)
    return torch.cat([start_B1, labels_BT[:, :-1]], dim=1)


def _right_padded(rows: Sequence[np.ndarray], *, pad: int) -> tuple[np.ndarray, np.ndarray]:
    longest = max(len(row) for row in rows)
    ids_BT = np.full((len(rows), longest), pad, dtype=np.int64)
    mask_BT = np.zeros((len(rows), longest), dtype=np.int64)
    for number, row in enumerate(rows):
        ids_BT[number, : len(row)] = row
        mask_BT[number, : len(row)] = 1
    return ids_BT, mask_BT
