"""The rows on which fast layers are compared with those of the model itself before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunelab.data.tokens.packing import excerpt
from tunelab.data.tokens.token_store import sizes
from tunelab.records import Batch, TokenRow


def verified_rows(rows: Sequence[TokenRow]) -> Batch:
    """Two short rows of different length, since the reference path keeps all logits and padding should be seen, of
    those with something to compare; and two documents of a packed row, if there is one."""
    known = sizes(rows)
    order = np.lexsort((known.num_tokens, ~known.learns_end))
    lengths = known.num_tokens[order]
    longer, packed = order[lengths > lengths[0]], np.flatnonzero(known.is_packed)
    chosen = [order[0], longer[0] if len(longer) else order[-1], *packed[:1]]
    return Batch(tuple(excerpt(row) if row.starts else row for row in (rows[int(place)] for place in chosen)))
