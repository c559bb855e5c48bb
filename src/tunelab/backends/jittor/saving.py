"""Plain weights as a Jittor run leaves them, and what stands beside whatever it leaves; as the torch back end does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tunelab.backends.jittor.architecture import Architecture
from tunelab.backends.jittor.weights import read_model, write_tensors
from tunelab.config.schema import Generation
from tunelab.errors import ModelError
from tunelab.models.generation_file import write_beside

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def generation_settings(folder: Path) -> Any:
    """The authors', as a model of transformers has them."""
    from transformers import AutoConfig, GenerationConfig

    if (folder / "generation_config.json").exists():
        return GenerationConfig.from_pretrained(folder)
    return GenerationConfig.from_model_config(AutoConfig.from_pretrained(folder))


def write_whole(folder: Path, values: Mapping[str, np.ndarray], *, base: Path) -> None:
    """fp32 weights with the base's configuration."""
    write_tensors(folder / WEIGHTS, values)
    config = json.loads((base / CONFIG).read_text(encoding="utf-8"))
    config = {key: value for key, value in config.items() if key != "torch_dtype"} | {"dtype": "float32"}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def read_whole(folder: Path, architecture: Architecture) -> dict[str, np.ndarray]:
    """
    Raises:
        ModelError: missing, or another model's.
    """
    if not (folder / WEIGHTS).exists():
        raise ModelError(f"{folder}: no {WEIGHTS} in it")
    return read_model(folder, architecture)


def write_text_side(folder: Path, generation_config: Any, tokenizer: Any, settings: Generation) -> None:
    """Tokenizer, and how texts end and were generated."""
    config = SimpleNamespace(is_encoder_decoder=False)
    write_beside(SimpleNamespace(generation_config=generation_config, config=config), tokenizer, folder, settings)
