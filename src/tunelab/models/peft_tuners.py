"""PEFT's tuners on a model that keeps its own class: which there are, attach, save, load, merge.

PEFT puts its layers into the model in place. Its own wrapper (peft.PeftModel) stays beside the model, hidden from the
module tree, because it is what saves, loads and merges; nothing ever runs through it.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelab.errors import ConfigError, ModelError
from tunelab.kernels.peft_format import CONFIG, read_config, read_tensors

if TYPE_CHECKING:
    import peft
    from torch import Tensor
    from transformers import PreTrainedModel

ADAPTER = "default"
_WRAPPER = "peft_wrapper"
_INPUTS = "learns inputs in place of weights (prompt learning), which leaves no plain weights to merge into"
REFUSED = {
    "ADAPTION_PROMPT": _INPUTS,
    "CARTRIDGE": _INPUTS,
    "CPT": _INPUTS,
    "MULTITASK_PROMPT_TUNING": _INPUTS,
    "P_TUNING": _INPUTS,
    "PREFIX_TUNING": _INPUTS,
    "PROMPT_TUNING": _INPUTS,
    "BEFT": "trains biases, which the linear layers of most models do not have, and cannot be merged without them",
    "LILY": "cannot be merged into plain weights",
    "POLY": "needs a task number with every row",
    "SHADOW": "runs through PEFT's own forward and cannot be merged",
    "XLORA": "mixes LoRA adapters that were trained before",
}
"""Tuners of PEFT that cannot work here, and why."""


def tuner_names() -> list[str]:
    """The tuners of the installed PEFT that can be trained here, read from its source: nothing is imported."""
    found = importlib.util.find_spec("peft")
    if found is None or found.origin is None:
        return []
    source = Path(found.origin).with_name("utils") / "peft_types.py"
    block = source.read_text(encoding="utf-8").partition("class PeftType")[2].partition("\nclass ")[0]
    return sorted(set(re.findall(r'^    ([A-Z0-9_]+) = "', block, re.MULTILINE)) - set(REFUSED))


def attach(model: PreTrainedModel, config: peft.PeftConfig, *, seed: int) -> PreTrainedModel:
    """PEFT's layers in the model, everything else frozen. Initial values depend on `seed` alone.

    Raises:
        ConfigError: what PEFT says against this configuration on this model.
        NotImplementedError: on the meta device, a tuner that reads the weights' values to build its layers.
    """
    from tunelab.models.bitsandbytes_import import import_bitsandbytes
    from tunelab.models.targets import linear_layers

    import_bitsandbytes()
    import peft
    import torch

    config.task_type = "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"
    model.requires_grad_(False)
    on_meta = model.device.type == "meta"
    with torch.random.fork_rng(enabled=not on_meta), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # what PEFT still asks transformers for
        warnings.filterwarnings("ignore", message=".*base_model_name_or_path.*")  # set below
        warnings.filterwarnings("ignore", message="Failed to load the CUDA extension")  # BOFT's; it goes without
        warnings.filterwarnings("ignore", message="Unsupported layer type")  # LN_TUNING's, of norms by another name
        torch.manual_seed(seed)
        try:
            wrapper = peft.get_peft_model(model, config, adapter_name=ADAPTER, low_cpu_mem_usage=on_meta)
        except (ValueError, TypeError, ImportError, NotImplementedError, RuntimeError, AssertionError) as error:
            if on_meta and isinstance(error, (NotImplementedError, RuntimeError)):
                raise NotImplementedError(f"PEFT's {_type_of(config)} cannot be built without weights") from error
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(f"PEFT's {_type_of(config)} cannot be used on this model: {reason}") from error
    config.base_model_name_or_path = model.config._name_or_path  # not the cache folder that PEFT takes
    for name, parameter in model.named_parameters():
        if ".ranknum." in name:
            parameter.requires_grad_(False)  # AdaLoRA's counters, which PEFT forgets to freeze on the meta device
    model.__dict__[_WRAPPER] = wrapper  # past nn.Module's registration: the wrapper contains the model
    _refuse_unused(model)
    if wrapper.base_model.model is not model:
        raise ConfigError(f"PEFT's {_type_of(config)} replaces the model in place of changing its layers")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        kinds = ", ".join(sorted({type(layer).__name__ for layer in linear_layers(model).values()}))
        raise ConfigError(f"PEFT's {_type_of(config)} trains nothing of this model (its layers: {kinds})")
    return model


def _refuse_unused(model: PreTrainedModel) -> None:
    """An encoder-decoder holds its tied embeddings in `shared` and computes with the `embed_tokens` of both sides,
    layers of their own: an adapter of `shared` would train nothing. TRAINABLE_TOKENS puts its own there too."""
    from peft.tuners.trainable_tokens import TrainableTokensLayer
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = {path.rpartition(".")[2]: layer for path, layer in model.named_modules()}
    shared = layers.get("shared")
    if "embed_tokens" in layers and isinstance(shared, BaseTunerLayer) and not isinstance(shared, TrainableTokensLayer):
        raise ConfigError("target_modules: 'shared' holds the embeddings, embed_tokens computes with them: name that")


def wrapper_of(model: PreTrainedModel) -> peft.PeftModel:
    return model.__dict__[_WRAPPER]


def config_of(model: PreTrainedModel) -> Any:
    """A peft.PeftConfig, with the fields of its tuner."""
    return wrapper_of(model).peft_config[ADAPTER]


def _type_of(config: peft.PeftConfig) -> str:
    """The tuner's name as PEFT writes it."""
    import peft

    return peft.PeftType(config.peft_type).value


def save(model: PreTrainedModel, folder: Path) -> None:
    """adapter_config.json and adapter_model.safetensors, as peft.PeftModel.from_pretrained reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    wrapper_of(model).save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # a model card full of blanks
    sets = {name for name, value in vars(config_of(model)).items() if isinstance(value, set)}
    # PEFT writes them in an order that changes from process to process
    config = {name: sorted(value) if name in sets else value for name, value in read_config(folder).items()}
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load(
    model: PreTrainedModel, folder: Path, *, leave_out: Callable[[str], bool] = lambda key: False
) -> dict[str, Tensor]:
    """Read into an attached model what `save` wrote; gives the tensors that are left out, by their names on disk.

    Raises:
        ModelError: no adapter there, or one of another model, other layers or other options.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    file = folder / "adapter_model.safetensors"
    if not file.exists():
        raise ModelError(f"{folder}: no adapter_model.safetensors in it; an adapter in PEFT's format is wanted")
    wrapper, tensors = wrapper_of(model), read_tensors(file)
    further = {key: value for key, value in tensors.items() if leave_out(key)}
    saved = {key: value for key, value in tensors.items() if key not in further}
    ranks = read_config(folder).get("rank_pattern")
    if ranks and config_of(model).peft_type.value == "ADALORA":
        config_of(model).rank_pattern = ranks  # the layers shrink to the ranks that training left
    else:
        _check_keys(set(get_peft_model_state_dict(wrapper, save_embedding_layers=False)), set(saved), folder)
    try:
        set_peft_model_state_dict(wrapper, saved)
    except (RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ModelError(f"{folder}: does not fit this model and these options: {reason}") from error
    return further


def _check_keys(wanted: set[str], saved: set[str], folder: Path) -> None:
    if wanted != saved:
        odd = sorted(wanted ^ saved)[0]
        raise ModelError(f"{folder}: adapts other layers than this model and these targets (first: {odd})")


def merged(model: PreTrainedModel) -> PreTrainedModel:
    """A copy in fp32 with plain weights: PEFT adds in the weight's own type, where small updates round away."""
    wrapper = wrapper_of(model)
    copied = copy.deepcopy(wrapper, _derived(wrapper)).float()
    _unshare(copied)
    plain = copied.merge_and_unload()
    for name in (_WRAPPER, "peft_config"):
        plain.__dict__.pop(name, None)
    return plain.requires_grad_(False)


def _unshare(wrapper: peft.PeftModel) -> None:
    """Give each adapted layer weights of its own: PEFT adds to them in place, and others may have the same (a head that
    is an embedding, a layer of two blocks), which would then change though nothing adapts them, or change twice. Rows
    of TRAINABLE_TOKENS are put in place, in every layer that shares them: those stay tied."""
    import torch
    from peft.tuners.trainable_tokens import TrainableTokensLayer
    from peft.tuners.tuners_utils import BaseTunerLayer

    from tunelab.kernels.adapted_linear import shallow_copy

    for layer in list(wrapper.modules()):
        base = layer._modules.get("base_layer")
        adds = isinstance(layer, BaseTunerLayer) and not isinstance(layer, TrainableTokensLayer)
        if adds and base is not None and not isinstance(base, BaseTunerLayer):
            own = shallow_copy(base)
            for name, parameter in base.named_parameters(recurse=False):
                own._parameters[name] = torch.nn.Parameter(parameter.detach().clone(), requires_grad=False)
            layer._modules["base_layer"] = own


def _derived(wrapper: peft.PeftModel) -> dict[int, Any]:
    """What deepcopy is told of tensors that are computed from parameters, which it refuses to copy: their values (a
    layer that is tied to an embedding keeps that one's transposed factors among its arguments)."""
    held = _tensors([list(vars(module).values()) for module in wrapper.modules()])
    return {id(tensor): tensor.detach().clone() for tensor in held if not tensor.is_leaf}


def _tensors(value: Any) -> Iterator[Tensor]:
    """In containers, however deep."""
    from torch import Tensor

    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
