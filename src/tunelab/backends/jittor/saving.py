"""What a Jittor run leaves: a LoRA adapter in PEFT's format, or plain weights, as the torch back end writes them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from tunelab.backends.jittor.weights import read_model, write_tensors
from tunelab.errors import ModelError
from tunelab.models.generation_file import write_beside

if TYPE_CHECKING:
    from tunelab.backends.jittor.session import JittorSession

MIB = 1024**2
WEIGHTS = "model.safetensors"


def generation_settings(folder: Path) -> Any:
    """The authors', as a model of transformers has them."""
    from transformers import AutoConfig, GenerationConfig

    if (folder / "generation_config.json").exists():
        return GenerationConfig.from_pretrained(folder)
    return GenerationConfig.from_model_config(AutoConfig.from_pretrained(folder))


def write(session: JittorSession, values: dict[str, np.ndarray], folder: Path) -> float:
    """As Session.write_model."""
    if session.adapters:
        session.lora.write(values, folder)
    else:
        write_tensors(folder / WEIGHTS, values)
        config = json.loads((session.located.folder / "config.json").read_text(encoding="utf-8"))
        config = {key: value for key, value in config.items() if key != "torch_dtype"} | {"dtype": "float32"}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    facts = SimpleNamespace(
        generation_config=session.generation_config, config=SimpleNamespace(is_encoder_decoder=False)
    )
    write_beside(facts, session.tokenizer, folder, session.run.generation)
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / MIB


def read(session: JittorSession, folder: Path) -> dict[str, np.ndarray]:
    """What `write` wrote, by the names of the trained values.

    Raises:
        ModelError: another model's, or of other options.
    """
    if session.adapters:
        return session.lora.read(folder)
    if not (folder / WEIGHTS).exists():
        raise ModelError(f"{folder}: no {WEIGHTS} in it")
    return read_model(folder, session.model.architecture)
