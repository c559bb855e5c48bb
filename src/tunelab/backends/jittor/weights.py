"""Weights on disk and what stands beside them, without a framework: also in bf16, for which numpy has no type."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tunelab.backends.jittor.architecture import Architecture, shapes
from tunelab.config.schema import Generation
from tunelab.errors import ModelError
from tunelab.models.generation_file import write_beside

WHOLE, CONFIG = "model.safetensors", "config.json"
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8"}
NEEDLESS = re.compile(r"(^|\.)(attn\.bias|attn\.masked_bias|rotary_emb\.inv_freq)$")
"""Constants that older files hold."""
PREFIXES = {"gpt2": "transformer."}
"""What files of a model without its output head leave out of their names."""


def read_tensors(file: Path) -> dict[str, np.ndarray]:
    """Every tensor; floats as fp32.

    Raises:
        ModelError: damaged, or of a type that is no weight's.
    """
    found = {}
    try:
        with file.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            header = json.loads(handle.read(length))
        raw = np.memmap(file, mode="r", offset=8 + length) if file.stat().st_size > 8 + length else np.empty(0, "u1")
        for name, facts in header.items():
            if name == "__metadata__":
                continue
            begin, end = facts["data_offsets"]
            values = np.frombuffer(raw[begin:end].tobytes(), dtype=TYPES[facts["dtype"]]).reshape(facts["shape"])
            found[name] = _widened(values) if facts["dtype"] == "BF16" else values
            if facts["dtype"] != "I64":
                found[name] = found[name].astype(np.float32, copy=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{file}: cannot be read as weights ({type(error).__name__}: {error})") from None
    return found


def _widened(values: np.ndarray) -> np.ndarray:
    """bf16 is the upper half of fp32."""
    return (values.astype(np.uint32) << 16).view(np.float32)


def write_tensors(file: Path, tensors: Mapping[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, file, metadata={"format": "pt"})


def read_model(folder: Path, each: Architecture) -> dict[str, np.ndarray]:
    """The weights of that architecture, by transformers' names.

    Raises:
        ModelError: missing, left over, or of another shape; named.
    """
    wanted = shapes(each)
    prefix = PREFIXES.get(each.kind, "model.")
    found: dict[str, np.ndarray] = {}
    unknown = []
    for file in sorted(folder.glob("*.safetensors")):
        for name, value in read_tensors(file).items():
            own = name if name in wanted else f"{prefix}{name}"
            if own in wanted:
                found[own] = value
            elif not (NEEDLESS.search(name) or (each.tied and name == "lm_head.weight")):
                unknown.append(name)
    missing = sorted(set(wanted) - set(found))
    if missing or unknown:
        raise ModelError(f"{folder}: weights of another model (missing {missing[:3]}, unexpected {unknown[:3]})")
    for name, value in found.items():
        if value.shape != wanted[name]:
            raise ModelError(f"{folder}: {name} has shape {value.shape}; the configuration says {wanted[name]}")
    return found


def generation_settings(folder: Path) -> Any:
    """The authors', as a model of transformers has them."""
    from transformers import AutoConfig, GenerationConfig

    if (folder / "generation_config.json").exists():
        return GenerationConfig.from_pretrained(folder)
    return GenerationConfig.from_model_config(AutoConfig.from_pretrained(folder))


def write_whole(folder: Path, values: Mapping[str, np.ndarray], *, base: Path) -> None:
    """fp32 weights with the base's configuration."""
    write_tensors(folder / WHOLE, values)
    config = json.loads((base / CONFIG).read_text(encoding="utf-8"))
    config = {key: value for key, value in config.items() if key != "torch_dtype"} | {"dtype": "float32"}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def read_whole(folder: Path, architecture: Architecture) -> dict[str, np.ndarray]:
    """
    Raises:
        ModelError: missing, or another model's.
    """
    if not (folder / WHOLE).exists():
        raise ModelError(f"{folder}: no {WHOLE} in it")
    return read_model(folder, architecture)


def write_text_side(folder: Path, generation_config: Any, tokenizer: Any, settings: Generation) -> None:
    """Tokenizer, and how texts end and were generated."""
    config = SimpleNamespace(is_encoder_decoder=False)
    write_beside(SimpleNamespace(generation_config=generation_config, config=config), tokenizer, folder, settings)
