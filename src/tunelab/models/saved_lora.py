"""LoRA adapters in PEFT's format: what they say of themselves, as options of our methods, and their tensors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tunelab.errors import ModelError
from tunelab.kernels.peft_format import CONFIG, HALVES, PREFIX, WEIGHTS, read_config, read_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OPTIONS = "tunelab_options"
"""In adapter_config.json, where parts are adapted: our options, which PEFT's own fields cannot say. PEFT warns that
it does not know the key, and goes on."""
SAVED = ("rank", "alpha", "ranks", "alphas", "targets")
"""What OPTIONS holds."""
UNREAD = (
    "layer_replication", "lora_bias", "alora_invocation_tokens", "layers_to_transform",
    "exclude_modules", "use_qalora", "use_bdlora", "arrow_config", "kasa_config", "monteclora_config", "velora_config",
)  # fmt: skip
"""Fields of peft.LoraConfig that change the model, and that our methods do not have."""
CHANGES_BASE = ("pissa", "olora", "corda", "lora_ga", "loftq")
"""Starts of PEFT's init_lora_weights after which an adapter fits a changed base only, unless converted."""


def read_options(folder: Path, *, written_by: str) -> dict[str, object] | None:
    """None: it is another method's.

    Args:
        written_by: the method whose folder it may be, as `tunelab_method` says; PEFT's own are lora's.

    Raises:
        ModelError: it has something that our methods have not.
    """
    from tunelab.models.also import saved_also

    file = folder / CONFIG
    saved = read_config(folder)
    if saved.get("peft_type") != "LORA" or saved.get("use_dora") or saved.get("target_parameters"):
        return None
    if saved.get("tunelab_method", "lora") != written_by:
        return None
    for field in UNREAD:
        if saved.get(field) not in (None, False, [], {}, "none"):
            raise ModelError(f"{file}: {field} is {saved[field]!r}, which lora here cannot do; load it with PEFT")
    start = saved.get("init_lora_weights")
    if isinstance(start, str) and start.startswith(CHANGES_BASE):
        way = "save it with path_initial_model_for_weight_conversion"
        raise ModelError(f"{file}: init_lora_weights is {start!r}, so the adapter fits a changed base only; {way}")
    own = {
        "rank": saved["r"],
        "alpha": float(saved["lora_alpha"]),
        "ranks": saved.get("rank_pattern") or {},
        "alphas": saved.get("alpha_pattern") or {},
        "targets": saved["target_modules"],
    } | saved.get(OPTIONS, {})
    return own | {
        "also": saved_also(folder, saved),
        "trainable_token_indices": saved.get("trainable_token_indices") or (),
        "scaling": "rslora" if saved.get("use_rslora") else "standard",
        "dropout": saved.get("lora_dropout", 0.0),
        "targets": own["targets"] if isinstance(own["targets"], str) else tuple(own["targets"]),
    }


def read_adapter(model: PreTrainedModel, folder: Path, *, also: str | tuple[str, ...]) -> None:
    """Its values into a model that has such layers, and what was trained beside them.

    Raises:
        ModelError: it is missing, or of other layers, another rank or another model.
    """
    import torch

    from tunelab.kernels.adapted_linear import adapted_layers
    from tunelab.kernels.adapters import load_factors, saved_factors
    from tunelab.models.also import is_beside, load_beside

    file = folder / WEIGHTS
    if not file.exists():
        raise ModelError(f"{folder}: no {WEIGHTS} in it; a LoRA adapter in PEFT's format is wanted")
    tensors, layers = read_tensors(file), adapted_layers(model)
    load_beside(model, also, tensors, folder)
    wanted = {f"{PREFIX}{name}.{half}.weight" for name in layers for half in HALVES}
    found = {key for key in tensors if not is_beside(key)}
    if wanted != found:
        odd = sorted(wanted ^ found)[0]
        raise ModelError(f"{folder}: adapts other layers than this model and these targets (first: {odd})")
    with torch.no_grad():
        for name, layer in layers.items():
            saved = [tensors[f"{PREFIX}{name}.{half}.weight"] for half in HALVES]
            for half, own, value in zip(HALVES, saved_factors(layer), saved, strict=True):
                if own.shape != value.shape:
                    shapes = f"{tuple(value.shape)}, not {tuple(own.shape)}"
                    raise ModelError(f"{folder}: {half} of {name} has shape {shapes}; another rank or model")
            if not load_factors(layer, *saved):
                rule = f"B is not zero outside {', '.join(layer.part_names)}, the parts that are adapted"
                raise ModelError(f"{folder}: {name}: {rule}; whole layers were trained: load it with PEFT")
