"""A stand-in for a model: the same architecture and module names at toy size, random weights, a tokenizer of this
package. It shows what would break, and nothing about quality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tunelab.config.schema import ModelSource
from tunelab.models.configurations import EMBEDDED
from tunelab.models.load import build, fetch_configuration, local_folder, quieten_transformers, read_configuration
from tunelab.models.stand_in_text import write_tokenizer

if TYPE_CHECKING:
    from transformers import PretrainedConfig

HIDDEN_SIZE, NUM_LAYERS, NUM_HEADS, HEAD_SIZE = 256, 2, 2, 128
"""Two heads of 128: every matrix has 128 rows and columns at least, so that published ranks fit."""
OF_EXPERTS = {
    "num_local_experts": 4, "num_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4, "n_shared_experts": 1,
    "num_experts_per_tok": 2, "moe_k": 2, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1,
    "moe_intermediate_size": 128, "shared_expert_intermediate_size": 128,
}  # fmt: skip
"""Largest value of a mixture's fields, by the names that families have for them; the second layer has experts."""
LARGEST_RANK = 128
MAX_POSITIONS, MAX_WINDOW, MAX_FEED_FORWARD = 1024, 32, 1024
TINY_MIB = 64.0
"""A local model with less in its safetensors files stands in for itself."""
UNKNOWN = {"model_type": "llama", "num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": False}
"""What stands in for an architecture that cannot be known here."""


class StandIn(NamedTuple):
    name: str
    """A local folder, or an embedded model's name."""
    same_family: bool
    """Its module names are those of the model it stands in for."""
    said: str
    """What it is, in a line."""


def stand_in(source: ModelSource, folder: Path, *, seed: int = 0) -> StandIn:
    """Write a stand-in for the model into `folder`; a tiny model is named as it is.

    Raises:
        ModelError: no such folder; or the hub says that the model is not there, or gated.
    """
    own = local_folder(source)
    if own is not None and (source.name in EMBEDDED or _weights_mib(own) <= TINY_MIB):
        return StandIn(source.name, True, f"{source.name}: small enough to be used as it is")
    configuration = read_configuration(source) or fetch_configuration(source)
    config = toy_config(configuration or UNKNOWN)
    write_tokenizer(config, folder, instructed=is_instructed(source.name))
    _write_model(config, configuration or UNKNOWN, folder, seed=seed)
    size = f"{NUM_LAYERS} layers, {HIDDEN_SIZE} wide, random weights, a tokenizer of this package"
    unknown = "; its own architecture cannot be read without the hub" if configuration is None else ""
    return StandIn(str(folder), configuration is not None, f"{source.name}: a {config.model_type} of {size}{unknown}")


def toy_config(configuration: dict[str, Any]) -> PretrainedConfig:
    """The configuration with every size made small and everything else (tying, activation, kinds of layers) as it is.

    Names are the canonical ones; a family's own (GPT-2's n_embd, T5's d_model) are reached through its attribute map.
    """
    from transformers import AutoConfig

    quieten_transformers()
    options = {key: value for key, value in configuration.items() if key not in ("model_type", "architectures")}
    # Without the list, which has an entry a layer of the large model, and would be checked against the number of them.
    kinds = options.pop("layer_types", None)
    config = AutoConfig.for_model(configuration["model_type"], **options)
    kinds = list(dict.fromkeys(kinds or getattr(config, "layer_types", None) or ()))
    for name, value in _toy_sizes(config).items():
        setattr(config, name, value)
    field = config.attribute_map.get("layer_types", "layer_types")
    settable = not isinstance(getattr(type(config), field, None), property)
    if kinds and settable:  # Mamba's and Jamba's follow from other fields
        config.layer_types = [kinds[layer % len(kinds)] for layer in range(NUM_LAYERS)]
    return config


def is_instructed(name: str) -> bool:
    """Whether the model's name says that it answers in conversations."""
    words = name.rsplit("/", 1)[-1].lower().replace("_", "-").split("-")
    return bool({"it", "instruct", "chat"} & set(words))


def _toy_sizes(config: PretrainedConfig) -> dict[str, Any]:
    """Canonical field -> value, for the fields that the family has."""
    heads = getattr(config, "num_attention_heads", None) or NUM_HEADS
    grouped = getattr(config, "num_key_value_heads", None) not in (None, heads)
    feed_forward = _first(config, "intermediate_size", "d_ff", "n_inner")
    wide = getattr(config, "hidden_size", HIDDEN_SIZE)
    window, positions = getattr(config, "sliding_window", None), getattr(config, "max_position_embeddings", None)
    toy_feed_forward = feed_forward and min(MAX_FEED_FORWARD, 32 * round(HIDDEN_SIZE * feed_forward / wide / 32))
    expert_sizes = {name: _at_most(config, name, most) for name, most in OF_EXPERTS.items()}
    if toy_feed_forward and any(expert_sizes.values()):
        toy_feed_forward = min(toy_feed_forward, HIDDEN_SIZE)  # of each expert
    sizes = {
        "hidden_size": HIDDEN_SIZE,
        "num_hidden_layers": NUM_LAYERS,
        "num_decoder_layers": NUM_LAYERS,
        "num_attention_heads": NUM_HEADS,
        "num_key_value_heads": 1 if grouped else NUM_HEADS,
        "head_dim": HEAD_SIZE,
        "intermediate_size": toy_feed_forward,
        "d_ff": toy_feed_forward,
        "n_inner": toy_feed_forward,
        "sliding_window": window and min(window, MAX_WINDOW),
        "max_position_embeddings": positions and min(positions, MAX_POSITIONS),
    }
    if hasattr(config, "qk_rope_head_dim"):  # of DeepSeek, whose heads are made of two parts
        del sizes["head_dim"]
    return {name: value for name, value in {**sizes, **expert_sizes}.items() if getattr(config, name, None) is not None}


def _at_most(config: PretrainedConfig, name: str, most: int) -> int | None:
    value = getattr(config, name, None)
    return min(value, most) if isinstance(value, int) else None


def _first(config: PretrainedConfig, *names: str) -> Any:
    return next((value for name in names if (value := getattr(config, name, None)) is not None), None)


def _write_model(config: PretrainedConfig, configuration: dict[str, Any], folder: Path, *, seed: int) -> None:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(config, tied=configuration.get("tie_word_embeddings"))
    model.save_pretrained(folder)
    path = folder / "config.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    if "tie_word_embeddings" in configuration:  # T5 writes that it is tied, whatever it is
        written["tie_word_embeddings"] = configuration["tie_word_embeddings"]
    path.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def _weights_mib(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 2**20
