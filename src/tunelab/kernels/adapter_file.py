"""Low-rank and sparse changes of linear layers on disk, as safetensors + JSON.

`adapter_config.json`: `tunelab_method`, `base_model_name_or_path`, and `options`, the method's fields.
`adapter_model.safetensors`, for each layer with `base_model.model.` before its module path:

| tensor | dtype, shape | |
|---|---|---|
| `.lora_A.weight`, `.lora_B.weight` | fp32 (R, I), (O, R) | as PEFT has them; left out at rank 0 |
| `.sparse_values` | fp32 (K) | row after row, columns ascending |
| `.sparse_columns` | uint16 (K); int32 where I > 65536 | |
| `.sparse_rows` | int32 (O + 1) | row o has the positions from rows[o] to rows[o + 1] (CSR) |

What is trained beside the adapters (models/also.py) lies there as PEFT has it, a tensor a parameter.

The change of a layer's weight, (O, I) for GPT-2's Conv1D too, is alpha / rank * B A + the sparse values.
"""
# I in, O out, R rank, K sparse positions

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tunelab.errors import ConfigError, ModelError
from tunelab.kernels.adapted_linear import AdaptedLinear
from tunelab.kernels.peft_format import CONFIG, HALVES, PREFIX, WEIGHTS, read_config, read_tensors
from tunelab.kernels.sparse import compressed, expanded


def write(
    folder: Path,
    layers: Mapping[str, AdaptedLinear],
    more: Mapping[str, Tensor],
    *,
    method: str,
    base_model: str,
    options: dict[str, Any],
) -> None:
    """`more`: further tensors, named as on disk."""
    from safetensors.torch import save_file

    tensors = dict(more)
    for name, layer in layers.items():
        for half in HALVES if layer.lora_A is not None else ():
            tensors[f"{PREFIX}{name}.{half}.weight"] = getattr(layer, half)
        if layer.sparse_values is not None:
            tensors[f"{PREFIX}{name}.sparse_values"] = layer.sparse_values
            for part, value in compressed(layer.sparse.index_K, shape=layer.shape).items():
                tensors[f"{PREFIX}{name}.sparse_{part}"] = value
    folder.mkdir(parents=True, exist_ok=True)
    plain = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}  # tied ones share memory
    save_file(plain, folder / WEIGHTS, metadata={"format": "pt"})
    config = {"tunelab_method": method, "base_model_name_or_path": base_model, "options": options}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def read_options(folder: Path, *, method: str) -> dict[str, Any] | None:
    """The options that `write` was given; None: this folder is not that method's."""
    saved = read_config(folder)
    return saved["options"] if saved.get("tunelab_method") == method and "options" in saved else None


def saved_folder(path: Path, *, method: str) -> Path | None:
    """Where that method saved: the folder itself, or `model` in a run's folder. None: nowhere there."""
    found = (folder for folder in (path, path / "model") if (folder / WEIGHTS).exists())
    return next((folder for folder in found if read_options(folder, method=method) is not None), None)


def read(folder: Path, layers: Mapping[str, AdaptedLinear], *, leave_out: Callable[[str], bool]) -> dict[str, Tensor]:
    """Put what `write` wrote into the layers; gives the tensors that are left out, by their names on disk.

    Raises:
        ModelError: the file is missing, or was written for other layers, another rank or another density.
    """
    tensors = _tensors(folder)
    further = {key: value for key, value in tensors.items() if leave_out(key)}
    wanted = {f"{PREFIX}{name}.{key}" for name, layer in layers.items() for key in _keys(layer)}
    if wanted | further.keys() != tensors.keys():
        odd = sorted((wanted | further.keys()) ^ tensors.keys())[0]
        raise ModelError(f"{folder}: changes other layers, or other parts of them, than these options (first: {odd})")
    with torch.no_grad():
        for name, layer in layers.items():
            for key, own in _parameters(layer).items():
                value = tensors[f"{PREFIX}{name}.{key}"]
                if own.shape != value.shape:
                    shapes = f"{tuple(value.shape)}, not {tuple(own.shape)}"
                    raise ModelError(f"{folder}: {key} of {name} has shape {shapes}; other options or another model")
                own.copy_(value)
            if layer.sparse_values is not None:
                layer.sparse.index_K.copy_(_positions(folder, tensors, name, layer.shape))
    return further


def read_positions(folder: Path, shapes: Mapping[str, tuple[int, int]]) -> dict[str, Tensor]:
    """Layer -> int32 positions, for every layer of `shapes`.

    Raises:
        ConfigError: the folder has none for one of them.
        ModelError: its file is missing, or its positions are not of such a matrix.
    """
    tensors = _tensors(folder)
    for name in shapes:
        if f"{PREFIX}{name}.sparse_columns" not in tensors:
            raise ConfigError(f"{folder} has no sparse positions for {name}; its run had other targets or no density")
    return {name: _positions(folder, tensors, name, shape) for name, shape in shapes.items()}


def _tensors(folder: Path) -> dict[str, Tensor]:
    if not (folder / WEIGHTS).exists():
        raise ModelError(f"{folder}: no {WEIGHTS} in it; a saved adapter is wanted")
    return read_tensors(folder / WEIGHTS)


def _positions(folder: Path, tensors: dict[str, Tensor], name: str, shape: tuple[int, int]) -> Tensor:
    columns, rows = (tensors[f"{PREFIX}{name}.sparse_{part}"] for part in ("columns", "rows"))
    try:
        return expanded(columns, rows, shape=shape)
    except ValueError as error:
        raise ModelError(f"{folder}: positions of {name}: {error}; another model, or a damaged file") from None


def _parameters(layer: AdaptedLinear) -> dict[str, Tensor]:
    """As the file names them."""
    halves = {f"{half}.weight": getattr(layer, half) for half in HALVES}
    parameters = {**halves, "sparse_values": layer.sparse_values}
    return {key: value for key, value in parameters.items() if value is not None}


def _keys(layer: AdaptedLinear) -> list[str]:
    positions = [] if layer.sparse_values is None else ["sparse_columns", "sparse_rows"]
    return [*_parameters(layer), *positions]
