"""A model read tensor by tensor, its linear layers quantised as they arrive: it never exists as a whole in float.

Files are read and not mapped, because mapped pages count as this process's memory. The peak is the quantised model,
one layer and the largest tensor. What is not plainly the model's own (weights that transformers makes of several while
it loads, weights that no file holds, code of the model's repository) is left to transformers, which reads all first.
"""
# I in, O out

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from tunelab.config.schema import ModelSource
from tunelab.models.load import automatic, quieten_transformers
from tunelab.models.quantise import Nf4Linear, kept_float, return_freed_memory
from tunelab.models.targets import is_quantised, is_transposed, linear_layers
from tunelab.records import Located
from tunelab.stages import stage

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""Of safetensors' headers."""
TOLD_EVERY = 20
UNKNOWN = -7.0e-30
"""What a buffer holds until the model has filled it."""


class NotPlain(Exception):
    """Why a model's files cannot be read in this way."""


class Stored(NamedTuple):
    """A tensor in a safetensors file."""

    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    """Byte of the file."""

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def hold_in_nf4(model: PreTrainedModel) -> None:
    """The layers that `quantise_model` would take, empty; on the meta device, as `Method.hold`."""
    for name in linear_layers(model).keys() - kept_float(model):
        layer = model.get_submodule(name)
        model.set_submodule(name, Nf4Linear(layer, transposed=is_transposed(layer)).train(layer.training))


def load_quantised(
    source: ModelSource,
    located: Located,
    *,
    hold: Callable[[PreTrainedModel], None],
    place: torch.device,
    note: Callable[[str], None],
) -> PreTrainedModel | None:
    """The model on `place`, the layers that `hold` replaces (`Method.hold`) quantised, all else in the dtype in which
    transformers would load it: the same bits as theirs, quantised afterwards. None: it cannot be read so, and `note`
    was told why."""
    from transformers import AutoConfig, GenerationConfig

    quieten_transformers()
    if source.initialize == "random":
        return None
    try:
        if source.trust_remote_code:
            raise NotPlain("code of its own repository builds it")
        model: Any = _read(AutoConfig.from_pretrained(located.folder), located.folder, hold, place)
    except NotPlain as reason:
        note(f"the model was read as a whole before it was quantised: {reason}")
        return None
    except (ValueError, OSError, KeyError):  # load_model says it in its own words
        return None
    try:
        model.generation_config = GenerationConfig.from_pretrained(located.folder)
    except OSError:  # none beside the weights: what config.json says, as transformers does
        model.generation_config = GenerationConfig.from_pretrained(
            located.folder, config_file_name="config.json", _from_model_config=True
        )
    model.config._name_or_path = source.name
    return model


def _read(
    config: PretrainedConfig, folder: Path, hold: Callable[[PreTrainedModel], None], place: torch.device
) -> PreTrainedModel:
    """Raises NotPlain before anything large has been read."""
    if getattr(config, "quantization_config", None) is not None:
        raise NotPlain("its files are quantised already")
    stored = headers(folder)
    config.dtype = _dtype_of(config, stored)
    with torch.device("meta"):
        model = automatic(config).from_config(config, dtype=config.dtype)
    if _has_wide_modules(model, config.dtype):
        raise NotPlain("some of its modules are wanted in fp32 beside narrower ones")
    own, names = model.state_dict(), _names(model, stored)
    _fill_buffers(model, place)
    hold(model)
    began = time.perf_counter()
    with stage("loading quantised") as say:
        for number, (name, tensor) in enumerate(_tensors({name: stored[held] for name, held in names.items()}), 1):
            if number % TOLD_EVERY == 0:
                say(f"loading quantised: {number} of {len(names)} tensors")
            _put(model, name, tensor, dtype=own[name].dtype, place=place)
        say(f"loaded quantised: {len(names)} tensors, {time.perf_counter() - began:.1f} s")
    # what its files hold twice is tied if it is equal there, as transformers does
    model.tie_weights(missing_keys=own.keys() - names.keys(), recompute_mapping=False)
    left = [name for name, value in model.state_dict().items() if value.device.type == "meta"]
    assert not left, f"nothing was read for {left[:3]}"
    return_freed_memory()
    return model.eval()


def headers(folder: Path) -> dict[str, Stored]:
    """Every tensor of the files that transformers would read, by name.

    Raises:
        NotPlain: files of other names, or of a type that is not known here.
    """
    if (folder / SINGLE).is_file():
        files = [folder / SINGLE]
    elif (folder / INDEX).is_file():
        files = [folder / name for name in sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values()))]
    else:
        raise NotPlain(f"there is neither {SINGLE} nor {INDEX}")
    return {name: stored for file in files for name, stored in _header(file)}


def _header(file: Path) -> Iterator[tuple[str, Stored]]:
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        entries = json.loads(opened.read(length))
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in DTYPES:
            raise NotPlain(f"weights of type {entry['dtype']}")
        start = 8 + length + entry["data_offsets"][0]
        yield name, Stored(file, DTYPES[entry["dtype"]], tuple(entry["shape"]), start)


def _dtype_of(config: PretrainedConfig, stored: Mapping[str, Stored]) -> torch.dtype:
    """In which transformers loads the model when it is to choose."""
    if isinstance(config.dtype, torch.dtype):
        return config.dtype
    found = {each.dtype for each in stored.values() if each.dtype.is_floating_point}
    if config.dtype is not None or len(found) != 1:
        raise NotPlain("its configuration does not say one type of its weights")
    return found.pop()


def _has_wide_modules(model: PreTrainedModel, dtype: torch.dtype) -> bool:
    """Whether transformers would load some of its modules in fp32 (T5's wo); of which types differs by release."""
    if dtype not in (torch.float16, torch.bfloat16):
        return False
    plan: Any = getattr(model, "_get_dtype_plan", None)
    wide = (getattr(model, name, None) for name in ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict"))
    return bool(plan(dtype)) if plan is not None else any(wide)


def _names(model: PreTrainedModel, stored: Mapping[str, Stored]) -> dict[str, str]:
    """Name in the model -> name in the files, of all that is to be read.

    Raises:
        NotPlain: transformers would do more than rename, or would read less or more than the model has.
    """
    own = model.state_dict()
    needless = "|".join(getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ["(?!)"])
    names: dict[str, str] = {}
    for name in stored:
        renamed = _renamed(name, model, own)
        if renamed in names:
            raise NotPlain(f"{names[renamed]} and {name} are one weight of the model")
        if renamed in own:
            names[renamed] = name
        elif not re.search(rf"{needless}|rotary_emb\.inv_freq", renamed):
            raise NotPlain(f"{name} in its files is not the model's")
    if wrong := [name for name, held in names.items() if tuple(own[name].shape) != stored[held].shape]:
        raise NotPlain(f"{min(wrong)} has another shape in its files")
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    together = {name: {source, *(each for each in tied if tied[each] == source)} for name, source in tied.items()}
    together |= {source: together[name] for name, source in tied.items()}
    if lacking := [name for name in own if name not in names and not together.get(name, set()) & names.keys()]:
        raise NotPlain(f"{min(lacking)} is in no file")
    return names


def _renamed(name: str, model: PreTrainedModel, own: dict[str, Tensor]) -> str:
    """As transformers names a weight of the files in the model."""
    rules, converted = _rules(model)
    from transformers.core_model_loading import rename_source_key

    prefix = model.base_model_prefix
    renamed, pattern = rename_source_key(name, rules, converted, prefix, own)
    if renamed not in own and name in own:
        renamed, pattern = rename_source_key(name, [], [], prefix, own)
    if pattern is not None:
        raise NotPlain(f"transformers makes other weights of {name} while it loads")
    return renamed


def _rules(model: PreTrainedModel) -> tuple[list[Any], list[Any]]:
    """How transformers renames and how it converts what is in files."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter, WeightRenaming
    except ImportError:
        raise NotPlain("this release of transformers does not say what it converts while it loads") from None
    rules = get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    return renamings, [rule for rule in rules if isinstance(rule, WeightConverter)]


def _fill_buffers(model: PreTrainedModel, place: torch.device) -> None:
    """What no file holds because the model computes it (rotary frequencies). Its weights are still without memory, so
    that its own initialisation fills nothing else."""
    kept, found = set(model.state_dict()), {}
    for path, module in model.named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            if (full := f"{path}.{name}".lstrip(".")) not in kept:
                module._buffers[name] = found[full] = torch.full_like(buffer, UNKNOWN, device="cpu")
    with torch.random.fork_rng(devices=[]):
        model.initialize_weights()
    for name, value in found.items():
        if value.is_floating_point() and bool((value == torch.tensor(UNKNOWN, dtype=value.dtype)).any()):
            raise NotPlain(f"{name} is in no file, and the model does not fill it by itself")
        owner, _, leaf = name.rpartition(".")
        model.get_submodule(owner)._buffers[leaf] = value.to(place)


def _tensors(stored: Mapping[str, Stored]) -> Iterator[tuple[str, Tensor]]:
    """In the order of the files, each in the same memory as the one before."""
    memory = torch.empty(max((each.num_bytes for each in stored.values()), default=0), dtype=torch.uint8)
    for name, each in sorted(stored.items(), key=lambda item: (item[1].file, item[1].start)):
        with each.file.open("rb", buffering=0) as opened:
            opened.seek(each.start)
            view, done = memory.numpy().data[: each.num_bytes], 0
            while done < each.num_bytes:
                read = opened.readinto(view[done:])
                if not read:
                    raise OSError(f"{each.file}: ends within {name}")
                done += read
        yield name, memory[: each.num_bytes].view(each.dtype).view(each.shape)


def _put(model: PreTrainedModel, name: str, tensor: Tensor, *, dtype: torch.dtype, place: torch.device) -> None:
    """`tensor` lies in memory that is written again: nothing of it is kept."""
    path, _, leaf = name.rpartition(".")
    owner: Any = model.get_submodule(path)
    if is_quantised(owner) and leaf == "weight":
        moved = tensor.to(place, dtype)
        owner.hold((moved.t() if owner.transposed else moved).contiguous())
        return
    value = tensor.to(place, dtype, copy=True)
    if leaf in owner._buffers:
        owner._buffers[leaf] = value
    else:
        owner._parameters[leaf] = nn.Parameter(value, requires_grad=value.is_floating_point())
