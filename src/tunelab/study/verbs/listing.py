"""What there is, by name with one line each: methods, tasks, metrics, models, studies, trackers. Imports none of it."""

from __future__ import annotations

import json
from typing import Literal, get_args

from tunelab import catalogue

Kind = Literal["methods", "tasks", "metrics", "models", "studies", "trackers"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def listing(kind: Kind) -> dict[str, str]:
    """Name -> one line."""
    if kind == "studies":
        from tunelab.study.planning import bundled

        return bundled.describe()
    if kind == "methods":
        return _methods()
    return _models() if kind == "models" else catalogue.describe(kind)


def _methods() -> dict[str, str]:
    """With the tuners that the installed PEFT brings, which no file here names."""
    from tunelab.models.peft_tuners import tuner_names

    entries = catalogue.describe("methods")
    return entries | {"peft_any": f"{entries['peft_any'].rstrip('.')}: {', '.join(tuner_names())}"}


def _models() -> dict[str, str]:
    from tunelab.models.configurations import EMBEDDED, known_names, read_known

    embedded = {
        name: f"embedded, needs no network; {_sizes(json.loads((folder / 'config.json').read_text()))}"
        for name, folder in EMBEDDED.items()
    }
    known = {name: configuration for name in known_names() if (configuration := read_known(name)) is not None}
    return embedded | {name: f"on the hub; {_sizes(configuration)}" for name, configuration in known.items()}


def _sizes(configuration: dict[str, object]) -> str:
    """'llama, 16 layers, width 2048, vocabulary 128256'."""

    def first(*keys: str) -> object:
        return next((configuration[key] for key in keys if key in configuration), "?")

    layers = first("num_hidden_layers", "n_layer", "num_layers")
    if "num_decoder_layers" in configuration:
        layers = f"{layers} + {configuration['num_decoder_layers']}"
    width = first("hidden_size", "n_embd", "d_model")
    kind, vocabulary = configuration["model_type"], configuration["vocab_size"]
    return f"{kind}, {layers} layers, width {width}, vocabulary {vocabulary}"
