"""PyTorch with Hugging Face models: loads, counts, and makes the Session that the loop drives."""

from __future__ import annotations

import os

import torch

from tunelab import device
from tunelab.backend_contract import Backend, Memory
from tunelab.backends.torch.session import TorchSession
from tunelab.backends.torch.storage import parameter_count, set_storage
from tunelab.config.run import RunConfig
from tunelab.config.schema import ModelSource
from tunelab.contracts import Method
from tunelab.models.load import load_model, load_text, locate, read_configuration, skeleton
from tunelab.models.quantise import require_nf4
from tunelab.records import Located, ParameterCount, TextSide
from tunelab.training.telemetry import ResidentMemory

GIB = 1024**3
MEDIUM_ERROR = 2.0
"""'medium' products are taken when their error against float64 is at most this many times that of the default."""


class TorchHf(Backend):
    def resolve(self, *, precision: str, threads: int | None) -> tuple[str, int]:
        if precision == "auto":
            precision = "bf16" if device.has_bf16(device.chosen()) else "fp32"
        return precision, threads or len(os.sched_getaffinity(0))

    def count(self, model: ModelSource, method: Method | None) -> ParameterCount | None:
        configuration = read_configuration(model)
        if configuration is None:
            return None
        network = skeleton(configuration)
        if method is None:
            return parameter_count(network.requires_grad_(False))
        try:
            counted = parameter_count(method.attach(network, seed=0))
        except NotImplementedError:
            return None
        return counted if method.trains else counted._replace(trainable=0)

    def locate(self, model: ModelSource) -> Located:
        return locate(model)

    def memory(self) -> Memory:
        return CudaMemory() if device.on_gpu() else ResidentMemory()

    def text(self, model: ModelSource, located: Located) -> TextSide:
        return load_text(model, located)

    def device(self) -> str:
        return device.name(device.chosen())

    def session(
        self, run: RunConfig, method: Method | None, *, located: Located, text: TextSide, notes: list[str]
    ) -> TorchSession:
        place = device.chosen()
        torch.set_num_threads(run.threads)
        if place.type == "cpu" and medium_is_exact():
            torch.set_float32_matmul_precision("medium")
        if method is not None and method.base_storage == "nf4":
            require_nf4(place)
        model = load_model(run.model, located, seed=run.seed).to(place)
        if method is None:
            model.requires_grad_(False)
        else:
            model = method.attach(model, seed=run.seed)
        set_storage(model, precision=run.precision)
        if run.activation_checkpointing and (method is None or method.trains):
            checkpoint_activations(model)
        return TorchSession(model, method, run, text.tokenizer, notes)


def medium_is_exact() -> bool:
    """Whether 'medium' fp32 products are true fp32 on this CPU (they are faster on some, bf16 on those with AMX)."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = left.double() @ right.double()
    before = torch.get_float32_matmul_precision()
    errors = []
    for setting in ("highest", "medium"):
        torch.set_float32_matmul_precision(setting)
        errors.append(float((left @ right - exact).abs().max()))
    torch.set_float32_matmul_precision(before)
    return errors[1] <= MEDIUM_ERROR * errors[0]


def checkpoint_activations(model: torch.nn.Module) -> None:
    """transformers 5 renamed its method on the way: the old name warns where there is a new one."""
    options = {"use_reentrant": False}
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)


class CudaMemory:
    """Peaks of torch's CUDA allocator."""

    method = "cuda-allocator"

    def reset(self) -> None:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()

    def peak_gib(self) -> float:
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / GIB

    def current_gib(self) -> float:
        return torch.cuda.memory_allocated() / GIB
