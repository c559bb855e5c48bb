"""LoRA in Jittor: A and B beside a linear layer or parts of it, started as everywhere."""
# I = in features, O = out features, R = rank, N = rows

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunelab.backends.jittor.changes import Factors
from tunelab.backends.jittor.framework import jt
from tunelab.backends.jittor.network import dropped
from tunelab.kernels.initial import kaiming_uniform

HALVES = ("lora_A", "lora_B")


class Adapter:
    """s (x A^T) B^T, in the rows of each part; other rows stay as they are."""

    def __init__(self, factors: Sequence[Factors], *, outputs: int, seed: int, dropout: float) -> None:
        self.factors, self.outputs, self.dropout = tuple(factors), outputs, dropout
        self._own: list[tuple[Any, Any]] = []
        for each in factors:
            a_RI = kaiming_uniform(seed=seed, name=f"{each.name}.lora_A", shape=(each.rank, each.inputs))
            self._own.append((jt.array(a_RI), jt.zeros((each.num_rows, each.rank))))

    def parameters(self) -> dict[str, Any]:
        pairs = zip(self.factors, self._own, strict=True)
        return {f"{each.name}.{half}": own for each, both in pairs for half, own in zip(HALVES, both, strict=True)}

    def __call__(self, x_NI: Any, *, training: bool) -> Any:
        x_NI = dropped(x_NI, self.dropout, training=training)
        pieces, end = [], 0
        for each, (a_RI, b_OR) in zip(self.factors, self._own, strict=True):
            if each.rows.start > end:
                pieces.append(jt.zeros((x_NI.shape[0], each.rows.start - end)))
            low_NR = jt.nn.matmul_transpose(x_NI, a_RI) * each.scale
            pieces.append(jt.nn.matmul_transpose(low_NR, b_OR))
            end = each.rows.stop
        if end < self.outputs:
            pieces.append(jt.zeros((x_NI.shape[0], self.outputs - end)))
        return pieces[0] if len(pieces) == 1 else jt.concat(pieces, dim=1)
