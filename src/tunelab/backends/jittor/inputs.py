"""Token rows as the arrays that the network reads: padded on the right, and where the supervised tokens are."""
# B batch, T tokens, S supervised positions of the batch

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tunelab.backends.jittor.network import Inputs
from tunelab.data.tokens.packing import positions
from tunelab.errors import RunError
from tunelab.records import Batch


class Collated(NamedTuple):
    inputs: Inputs
    index_S: np.ndarray
    """Positions in the flattened (B * T) whose logits predict a supervised token."""
    target_S: np.ndarray
    row_S: np.ndarray
    """Which row of the batch each supervised token belongs to."""


def collate(batch: Batch, *, pad: int, vocabulary: int) -> Collated:
    """
    Raises:
        RunError: a token outside the vocabulary, of which Jittor would say nothing.
    """
    rows = batch.rows
    width = max(len(row.ids) for row in rows)
    ids_BT = np.full((len(rows), width), pad, dtype=np.int64)
    positions_BT = np.zeros((len(rows), width), dtype=np.int64)
    piece_BT = np.zeros((len(rows), width), dtype=np.int64)
    for number, row in enumerate(rows):
        ids_BT[number, : len(row.ids)] = row.ids
        own = positions(row)
        positions_BT[number, : len(own)] = own
        piece_BT[number, : len(own)] = np.cumsum(own == 0)
    if ids_BT.min() < 0 or ids_BT.max() >= vocabulary:
        raise RunError(f"a token {ids_BT.max()} in the rows, and the model has {vocabulary} embedding rows")
    chosen = [np.flatnonzero(row.supervised) for row in rows]
    return Collated(
        Inputs(ids_BT, positions_BT, _seen(piece_BT) if any(row.starts for row in rows) else None),
        np.concatenate([number * width + places - 1 for number, places in enumerate(chosen)]).astype(np.int32),
        np.concatenate([row.ids[places] for row, places in zip(rows, chosen, strict=True)]).astype(np.int32),
        np.repeat(np.arange(len(rows)), [len(places) for places in chosen]),
    )


def _seen(piece_BT: np.ndarray) -> np.ndarray:
    """Documents of a packed row do not see each other."""
    width = piece_BT.shape[1]
    return (piece_BT[:, :, None] == piece_BT[:, None]) & np.tri(width, dtype=bool)
