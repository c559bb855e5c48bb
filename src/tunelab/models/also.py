"""What a method trains beside its adapters: the base's embeddings, output head, norms, biases, or modules by name.

They are trained in place, as whole tensors. On disk they are what PEFT calls `modules_to_save` and `bias: all`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tunelab.errors import ConfigError, ModelError
from tunelab.kernels.patterns import matcher
from tunelab.kernels.peft_format import CONFIG, PREFIX, WEIGHTS
from tunelab.models.fused_parts import ends_with
from tunelab.models.reach import inner
from tunelab.models.targets import is_quantised

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from tunelab.models.added_tokens import TokenRows

EMBEDDINGS, HEAD, NORMS, BIASES = KINDS = ("embeddings", "head", "norms", "biases")
NORM = re.compile("norm", re.IGNORECASE)
"""In the class names of norms, whoever wrote the model."""
ROWS = ".token_adapter.trainable_tokens_delta"
"""Of single tokens, in PEFT's names on disk."""
ADAPTERS = ("lora_", "sparse_values", "sparse_columns", "sparse_rows")
"""Begins of the last parts of names that are adapters' own."""


class Beside(NamedTuple):
    """What `also` means in a model, an adapter attached or not."""

    modules: dict[str, nn.Module]
    """Module path -> module whose own parameters are trained, all of them."""
    biases: dict[str, nn.Parameter]
    """Parameter path -> bias, where biases are named: of every module, adapted ones included."""
    ties: bool
    """The head and the embedding among them are one matrix."""
    rows: dict[str, TokenRows]
    """Module path -> embedding or head of which the added tokens' rows alone are trained."""

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Path -> parameter; one that is tied has several paths."""
        own = {
            f"{path}.{name}": parameter
            for path, module in self.modules.items()
            for name, parameter in module.named_parameters(recurse=False)
        }
        return own | self.biases | {f"{path}.rows": module.rows for path, module in self.rows.items()}

    def tensors(self) -> dict[str, Tensor]:
        """As PEFT names them on disk."""
        return {key_of(path): parameter for path, parameter in self.parameters.items()}


def key_of(path: str) -> str:
    """PEFT's name on disk of a parameter; what an adapter wraps is called `base` here and `base_layer` there."""
    if path.endswith(".rows"):
        return f"{PREFIX}{path.removesuffix('.rows')}{ROWS}"
    return f"{PREFIX}{path.replace('.base.', '.base_layer.')}"


def beside(model: PreTrainedModel, also: str | tuple[str, ...], *, option: str = "also") -> Beside:
    """What `also` names: kinds (KINDS), ends of module paths at a dot, or, as one string, a regular expression that
    must match a whole module path. What lies below a named module is named too. `option`: what messages call it.

    Raises:
        ConfigError: it names nothing, or what an adapter or a quantised layer holds.
    """
    from tunelab.models.added_tokens import token_rows

    rows = token_rows(model)
    if not also:
        return Beside({}, {}, ties=False, rows=rows)
    modules: dict[str, nn.Module] = {}
    for name in (also,) if isinstance(also, str) else also:
        is_kind, pattern = name in KINDS, isinstance(also, str)
        found = _of_kind(model, name, option) if is_kind else _named(model, name, option, pattern=pattern)
        modules |= dict(found)
    biases = {}
    if BIASES in ((also,) if isinstance(also, str) else also):
        named = model.named_parameters()
        biases = {path: each for path, each in named if path.endswith(".bias") and not _is_adapters(path)}
        if not biases:
            raise ConfigError(f"{option}: biases: this model has none")
    # a matrix that several modules hold is trained for all of them
    trained = {parameter for module in modules.values() for parameter in module.parameters(recurse=False)}
    modules |= {path: each for path, each in _holders(model) if trained & set(each.parameters(recurse=False))}
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    ties = head is not None and head.weight is embedding.weight and embedding.weight in trained
    return Beside(modules, biases, ties, rows)


def train_beside(model: PreTrainedModel, also: str | tuple[str, ...]) -> None:
    """Of a model whose adapters are attached and whose base is frozen. With it the rows of added tokens.

    Raises:
        ConfigError: as `beside`.
    """
    from tunelab.models.added_tokens import train_rows

    for parameter in beside(model, also).parameters.values():
        parameter.requires_grad_(True)
    train_rows(model)


def remarks(model: PreTrainedModel, also: str | tuple[str, ...]) -> list[str]:
    """What a reader of a study may not expect of it."""
    if beside(model, also).ties:
        return ["also: the embedding and the output head are one matrix in this model, and stay one: both are trained"]
    return []


def load_beside(model: PreTrainedModel, also: str | tuple[str, ...], saved: Mapping[str, Tensor], folder: Path) -> None:
    """Put tensors into the model that are named as on disk; those of adapters may be among them.

    Raises:
        ModelError: one is missing, has another shape or is not trained by these options, or what is one matrix here
            was trained apart.
    """
    import torch

    put: dict[nn.Parameter, str] = {}
    wanted = {key_of(path): parameter for path, parameter in beside(model, also).parameters.items()}
    if odd := sorted(key for key in saved if is_beside(key) and key not in wanted and not _is_twice(key)):
        raise ModelError(f"{folder}: has {odd[0]} too, which these options do not train; other options")
    for key, parameter in wanted.items():
        value, first = saved.get(key), put.setdefault(parameter, key)
        if value is None and first != key:
            rule = f"{first} was trained apart from {key}, and both are one matrix in this model"
            raise ModelError(f"{folder}: {rule}; load it with PEFT")
        if value is None:
            raise ModelError(f"{folder}: no {key} in it, which these options train; other options or another model")
        if value.shape != parameter.shape:
            shapes = f"{tuple(value.shape)}, not {tuple(parameter.shape)}"
            raise ModelError(f"{folder}: {key} has shape {shapes}; another model")
        if first != key and not value.equal(saved[first]):
            raise ModelError(f"{folder}: {first} and {key} differ, and are one matrix in this model; load it with PEFT")
        with torch.no_grad():
            parameter.copy_(value)


def peft_fields(chosen: Beside, *, encoder_decoder: bool) -> dict[str, object]:
    """What adapter_config.json says of it. An encoder-decoder's tied embeddings are said one by one, because PEFT's
    tying makes a linear layer of each."""
    rows = {path: list(module.tokens) for path, module in chosen.rows.items()}
    indices = {"trainable_token_indices": rows} if rows else {}
    if not (chosen.modules or chosen.biases):
        return {"bias": "none", **indices}
    tied = {"ensure_weight_tying": True} if chosen.ties and not encoder_decoder else {}
    named = {"modules_to_save": sorted(chosen.modules)} if chosen.modules else {}
    return {"bias": "all" if chosen.biases else "none", **named, **tied, **indices}


def add_to_adapter(folder: Path, chosen: Beside, *, encoder_decoder: bool) -> None:
    """To an adapter that PEFT has written."""
    from safetensors.torch import load_file, save_file

    if not chosen.parameters:
        return
    tensors = load_file(folder / WEIGHTS) | {
        key: value.detach().cpu().clone() for key, value in chosen.tensors().items()
    }
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    file = folder / CONFIG
    config = json.loads(file.read_text(encoding="utf-8")) | peft_fields(chosen, encoder_decoder=encoder_decoder)
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def saved_also(folder: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    """The option with which an adapter in PEFT's format trains what is in its file: whole module paths.

    Raises:
        ModelError: biases of some layers only.
    """
    from safetensors import safe_open

    bias = config.get("bias") or "none"
    if bias not in ("none", "all"):
        raise ModelError(f"{folder}: bias is {bias!r}, which lora here cannot do (all, or none); load it with PEFT")
    if (not config.get("modules_to_save") and bias == "none") or not (folder / WEIGHTS).exists():
        return ()
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        paths = [
            key.removeprefix(PREFIX).rpartition(".")
            for key in file.keys()
            if is_beside(key) and not _is_twice(key) and ROWS not in key
        ]
    # a bias of a module whose weight is there too is that module's
    whole = {path for path, _, name in paths if name != "bias" or bias == "none"}
    return (*sorted(whole), *((BIASES,) if bias == "all" else ()))


def has_more(config: Mapping[str, Any]) -> bool:
    """Whether an adapter_config.json says that weights of the base were trained beside the adapters. PEFT holds them in
    the type that the base is loaded in, where it holds adapters in fp32."""
    return bool(config.get("modules_to_save") or config.get("trainable_token_indices") or config.get("bias") == "all")


def is_beside(key: str) -> bool:
    """Whether a name on disk is of no adapter."""
    return not _is_adapters(key)


def _is_twice(key: str) -> bool:
    """PEFT with `bias: all` writes the biases of modules that it saves once more, by its wrapper's inner names."""
    return ".modules_to_save." in key or ".original_module." in key


def _is_adapters(path: str) -> bool:
    return any(step.startswith(ADAPTERS) for step in path.split(".")[-3:])


def _of_kind(model: PreTrainedModel, kind: str, option: str) -> Iterator[tuple[str, nn.Module]]:
    if kind == BIASES:
        return
    if kind == NORMS:
        found = [(path, each) for path, each in _holders(model) if NORM.search(type(each).__name__)]
        if not found:
            raise ConfigError(f"{option}: norms: this model has none with weights")
        yield from found
        return
    wanted = model.get_output_embeddings() if kind == HEAD else model.get_input_embeddings()
    if wanted is None:
        raise ConfigError(f"{option}: {kind}: this model has none")
    _refuse_held(kind, wanted, option)
    yield from ((path, each) for path, each in model.named_modules(remove_duplicate=False) if each is wanted)


def _named(model: PreTrainedModel, name: str, option: str, *, pattern: bool) -> Iterator[tuple[str, nn.Module]]:
    if pattern:
        rule = matcher(f"{option} (none of {', '.join(KINDS)})", name)
        tops = [path for path, _ in model.named_modules() if path and rule(path)]
    else:
        tops = [path for path, _ in model.named_modules() if path and ends_with(path, name)]
    found = False
    for path, module in model.named_modules():
        if any(path == top or path.startswith(f"{top}.") for top in tops):
            _refuse_held(path, module, option)
            if any(True for _ in module.parameters(recurse=False)):
                found = True
                yield path, module
    if not found:
        there = ", ".join(dict.fromkeys(path.rpartition(".")[2] for path, _ in _holders(model)))
        raise ConfigError(f"{option}: '{name}' names no module with weights; there are {', '.join(KINDS)}, and {there}")


def _refuse_held(path: str, module: nn.Module, option: str) -> None:
    if inner(module) is not None:
        leaf = path.rpartition(".")[2]
        raise ConfigError(
            f"{option}: '{leaf}' is adapted by `targets`; it is trained by one of them: take it out of one"
        )
    if is_quantised(module):
        raise ConfigError(
            f"{option}: '{path}' is held in few bits, which cannot be trained; name what is held in float"
        )


def _holders(model: PreTrainedModel) -> Iterator[tuple[str, nn.Module]]:
    """Modules with parameters of their own that belong to no adapter."""
    wrapped = ""
    for path, module in model.named_modules(remove_duplicate=False):
        if wrapped and path.startswith(wrapped):
            continue
        if inner(module) is not None:
            wrapped = f"{path}."
        elif any(True for _ in module.parameters(recurse=False)):
            yield path, module
