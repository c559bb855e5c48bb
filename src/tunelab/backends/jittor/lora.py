"""LoRA in Jittor: A and B beside a linear layer or parts of it, started as everywhere, saved in PEFT's format."""
# I = in features, O = out features, P = rows of a part, R = rank, N = rows

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tunelab.backends.jittor.architecture import Architecture, linear_layers
from tunelab.backends.jittor.framework import jt
from tunelab.backends.jittor.network import dropped
from tunelab.backends.jittor.weights import read_tensors, write_tensors
from tunelab.errors import ModelError
from tunelab.kernels.initial import kaiming_uniform
from tunelab.kernels.peft_format import CONFIG, HALVES, PREFIX, WEIGHTS, WrittenLayer, shortest_names
from tunelab.records import LowRank


class Adapter:
    """s (x A^T) B^T, in the rows of each part; other rows stay as they are. Dropout draws one mask for all parts."""

    def __init__(self, factors: Sequence[LowRank], *, outputs: int, seed: int, dropout: float) -> None:
        self.factors, self.outputs, self.dropout = tuple(factors), outputs, dropout
        self._own: list[tuple[Any, Any]] = []
        for each in factors:
            a_RI = kaiming_uniform(seed=seed, name=f"{each.name}.lora_A", shape=(each.rank, each.inputs))
            self._own.append((jt.array(a_RI), jt.zeros((each.rows.stop - each.rows.start, each.rank))))

    def parameters(self) -> dict[str, Any]:
        pairs = zip(self.factors, self._own, strict=True)
        return {f"{each.name}.{half}": own for each, both in pairs for half, own in zip(HALVES, both, strict=True)}

    def __call__(self, x_NI: Any, *, training: bool) -> Any:
        x_NI = dropped(x_NI, self.dropout, training=training)
        pieces, end = [], 0
        for each, (a_RI, b_PR) in zip(self.factors, self._own, strict=True):
            if each.rows.start > end:
                pieces.append(jt.zeros((x_NI.shape[0], each.rows.start - end)))
            low_NR = jt.nn.matmul_transpose(x_NI, a_RI) * each.scale
            pieces.append(jt.nn.matmul_transpose(low_NR, b_PR))
            end = each.rows.stop
        if end < self.outputs:
            pieces.append(jt.zeros((x_NI.shape[0], self.outputs - end)))
        return pieces[0] if len(pieces) == 1 else jt.concat(pieces, dim=1)


def write_adapter(
    folder: Path, method: Any, adapters: Mapping[str, Adapter], values: Mapping[str, np.ndarray], *,
    architecture: Architecture, base_model: str,
) -> None:  # fmt: skip
    """`values` by the names of the trained parameters; `method` says what PEFT's configuration is told."""
    tensors, layers = {}, {}
    for path, adapter in adapters.items():
        scale = adapter.factors[0].scale
        a_RI = np.concatenate([values[f"{each.name}.lora_A"] for each in adapter.factors])
        blocks = []
        for each in adapter.factors:
            block = np.zeros((adapter.outputs, each.rank), dtype=np.float32)
            block[each.rows] = values[f"{each.name}.lora_B"] * np.float32(each.scale / scale)
            blocks.append(block)
        for half, value in zip(HALVES, (a_RI, np.concatenate(blocks, axis=1)), strict=True):
            tensors[f"{PREFIX}{path}.{half}.weight"] = value
        parted = adapter.factors[0].name != path
        layers[path] = WrittenLayer(len(a_RI), scale, architecture.transposed, parted)
    write_tensors(folder / WEIGHTS, tensors)
    targets = shortest_names(linear_layers(architecture), list(layers))
    config = method.peft_config(layers, base_model=base_model, target_modules=targets)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def read_adapter(folder: Path, adapters: Mapping[str, Adapter]) -> dict[str, np.ndarray]:
    """What `write_adapter`, torch or PEFT wrote, by the names of the trained parameters.

    Raises:
        ModelError: missing, or of other layers, ranks or parts.
    """
    if not (folder / WEIGHTS).exists():
        raise ModelError(f"{folder}: no {WEIGHTS} in it; a LoRA adapter in PEFT's format is wanted")
    tensors = read_tensors(folder / WEIGHTS)
    wanted = {f"{PREFIX}{path}.{half}.weight" for path in adapters for half in HALVES}
    if wanted != set(tensors):
        odd = sorted(wanted ^ set(tensors))[0]
        raise ModelError(f"{folder}: adapts other layers than this model and these targets (first: {odd})")
    found = {}
    for path, adapter in adapters.items():
        a_RI, b_OR = (tensors[f"{PREFIX}{path}.{half}.weight"] for half in HALVES)
        rank = sum(each.rank for each in adapter.factors)
        if a_RI.shape != (rank, adapter.factors[0].inputs) or b_OR.shape != (adapter.outputs, rank):
            shapes = f"{a_RI.shape} and {b_OR.shape}"
            raise ModelError(f"{folder}: A and B of {path} have shapes {shapes}; another rank or model")
        start = 0
        for each in adapter.factors:
            own = b_OR[:, start : start + each.rank]
            found[f"{each.name}.lora_A"] = a_RI[start : start + each.rank]
            found[f"{each.name}.lora_B"] = own[each.rows] / np.float32(each.scale / adapter.factors[0].scale)
            if np.any(own[: each.rows.start]) or np.any(own[each.rows.stop :]):
                raise ModelError(f"{folder}: {path}: B is not zero outside {each.name}, which is adapted")
            start += each.rank
    return found
