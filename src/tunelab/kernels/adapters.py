"""An adapted layer from a linear one: how the low-rank factors start, and which rank each layer has.

default: A uniform, B zero (Hu et al. 2021). pissa: the R largest singular triplets of W (Meng et al. 2024,
arXiv:2404.02948). olora: the first R columns of its QR factorisation (Büyükakyüz 2024, arXiv:2406.01775). lora_ga: of
the gradient G of W the singular vectors 1 to R of the inputs and R + 1 to 2R of the outputs, so that the first step is
that of W projected on rank 2R (Wang et al. 2024, arXiv:2407.05000). These three leave the layer's product as it was,
because the frozen weight becomes W - s B0 A0. lora_one: B0 A0 is -G cut to rank R, a first step of full fine-tuning
(Zhang et al. 2025, arXiv:2502.01235, without its preconditioner). eva: training/starts/inputs_of_layers.py.
"""
# I = in features, O = out features, R = rank

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from tunelab.errors import ConfigError
from tunelab.kernels.adapted_linear import AdaptedLinear, adapt, adapted_layers, shape_of
from tunelab.kernels.initial import kaiming_uniform
from tunelab.kernels.parts import Factors, Part, apart
from tunelab.kernels.peft_format import CHANGE_BASE

STARTS = ("initial_A", "initial_B")
"""Buffers of a layer: what was taken out of its base."""
Init = Literal["default", "pissa", "olora", "lora_ga", "lora_one", "eva"]


def low_rank_layer(
    layer: nn.Module,
    *,
    transposed: bool,
    name: str,
    seed: int,
    rank: int,
    scale: float,
    dropout: float,
    init: Init,
) -> AdaptedLinear:
    """The layer with low-rank factors; with pissa and olora its base weight (in its own dtype) is the residual. What
    starts from gradients is as by default until `put_start`. `transposed`: the weight lies as (I, O).

    Raises:
        ConfigError: the rank is larger than the matrix, or for lora_ga than half of it; a start that changes the base,
            on a quantised one.
    """
    adapted = adapt(
        layer, name=name, seed=seed, rank=rank, scale=scale, dropout=dropout, density=0.0, transposed=transposed
    )
    if init == "lora_ga" and 2 * rank > min(adapted.shape):
        outputs, inputs = adapted.shape
        raise ConfigError(f"rank: lora_ga takes 2 x {rank} directions of {name}, which has {min(outputs, inputs)}")
    if init not in CHANGE_BASE:
        return adapted
    if layer.weight is None:
        raise ConfigError(f"init: {init} takes a part out of the base, and a quantised base ({name}) has none to give")
    own = adapted.factors
    if own.a_RI.is_meta:
        return adapted
    for half, value in zip(STARTS, own, strict=True):
        adapted.register_buffer(half, torch.zeros_like(value, requires_grad=False), persistent=False)
    if init != "lora_ga":
        put_start(adapted, factorise(adapted.dense(torch.float32).detach(), rank=rank, scale=scale, init=init))
    return adapted


def put_start(layer: AdaptedLinear, start: Factors) -> None:
    """These factors for the layer's own; taken out of its base, where its start changes that."""
    own = layer.factors
    with torch.no_grad():
        own.a_RI.copy_(start.a_RI)
        own.b_OR.copy_(start.b_OR)
    if initial(layer) is not None:
        restart_from(layer, Factors(own.a_RI.detach(), own.b_OR.detach()))


class PartSizes(NamedTuple):
    """What a part of a fused layer gets."""

    rows: slice
    rank: int
    scale: float


def parted_layer(
    layer: nn.Module, *, transposed: bool, name: str, seed: int, parts: Mapping[str, PartSizes], dropout: float
) -> AdaptedLinear:
    """The layer with low-rank factors of some of its parts: A drawn by the part's own name, B zero.

    Raises:
        ConfigError: a rank is larger than the part's rows or columns.
    """
    inputs = shape_of(layer, transposed=transposed)[1]
    device = next(iter([*layer.parameters(), *layer.buffers()])).device
    scale = next(iter(parts.values())).scale
    made = {}
    for part, (rows, rank, own_scale) in parts.items():
        num_rows = rows.stop - rows.start
        if rank > min(num_rows, inputs):
            raise ConfigError(f"rank: {rank} is larger than the matrix of {name}.{part} ({num_rows} x {inputs})")
        if device.type == "meta":
            first = torch.empty(rank, inputs, device=device)
        else:
            drawn = kaiming_uniform(seed=seed, name=f"{name}.{part}.lora_A", shape=(rank, inputs))
            first = torch.from_numpy(drawn).to(device)
        second = torch.zeros(num_rows, rank, device=device)
        made[part] = Part(rows, lora_A=first, lora_B=second, share=own_scale / scale)
    return AdaptedLinear(
        layer, lora_A=None, lora_B=None, scale=scale, dropout=dropout, transposed=transposed, parts=made
    )


def factorise(weight_OI: Tensor, *, rank: int, scale: float, init: Init) -> Factors:
    """A0, B0 in fp32 with s B0 A0 the part of W that is trained: by exact SVD (pissa), or with B0 of orthonormal
    columns (olora)."""
    if init == "olora":
        q_OK, r_KI = torch.linalg.qr(weight_OI)
        return Factors(r_KI[:rank].contiguous(), q_OK[:, :rank].contiguous())
    u_OK, values_K, v_KI = torch.linalg.svd(weight_OI, full_matrices=False)
    root_R = (values_K[:rank] / scale).sqrt()
    return Factors(root_R[:, None] * v_KI[:rank], u_OK[:, :rank] * root_R)


def gradient_start(gradient_OI: Tensor, *, rank: int, init: Init, gamma: float) -> Factors:
    """A0 and B0 in fp32 of lora_ga or lora_one, from the gradient of W in any scale."""
    u_OK, values_K, v_KI = torch.linalg.svd(gradient_OI, full_matrices=False)
    if init == "lora_ga":
        size = len(gradient_OI) ** 0.25 / math.sqrt(gamma)
        return Factors(size * v_KI[:rank], size * u_OK[:, rank : 2 * rank])
    root_R = (values_K[:rank] / values_K[0].clamp(min=torch.finfo(torch.float32).tiny) / gamma).sqrt()
    return Factors(root_R[:, None] * v_KI[:rank], -u_OK[:, :rank] * root_R)


def initial(layer: AdaptedLinear) -> Factors | None:
    """What was taken out of the layer's base, by now; None: nothing ever is."""
    if not hasattr(layer, "initial_A"):
        return None
    return Factors(*map(layer.get_buffer, STARTS))


def taken_out(model: nn.Module) -> dict[str, Tensor]:
    """'path.initial_A' and 'path.initial_B' of every layer that has them."""
    layers = adapted_layers(model).items()
    found = {f"{name}.{half}": dict(layer.named_buffers()).get(half) for name, layer in layers for half in STARTS}
    return {key: value for key, value in found.items() if value is not None}


def take_out(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """What `taken_out` gave, of the same model before anything is taken out of it."""
    for name, layer in adapted_layers(model).items():
        restart_from(layer, Factors(*(state[f"{name}.{half}"].to(layer.weight.device) for half in STARTS)))


def restart_from(layer: AdaptedLinear, start: Factors) -> None:
    """Let the layer's base be what it is after taking out `start` in place of its own factors: another machine's SVD
    may differ in signs. Equal factors leave it bit for bit."""
    own = initial(layer)
    assert own is not None, "nothing was taken out of this layer's base"
    if own.a_RI.equal(start.a_RI) and own.b_OR.equal(start.b_OR):
        return
    _add_to_base(layer, own, sign=1)
    _add_to_base(layer, start, sign=-1)
    own.a_RI.copy_(start.a_RI)
    own.b_OR.copy_(start.b_OR)


def saved_factors(layer: AdaptedLinear) -> tuple[Tensor, Tensor]:
    """A and B for the untouched base: where s B0 A0 was taken out of it, [A; A0] and [B, -B0], as PEFT converts."""
    own, start = layer.factors, initial(layer)
    if start is None:
        return own
    return torch.cat([own.a_RI, start.a_RI]), torch.cat([own.b_OR, -start.b_OR], dim=1)


def load_factors(layer: AdaptedLinear, a_RI: Tensor, b_OR: Tensor) -> bool:
    """What `saved_factors` gave. False: it changes rows that this layer does not."""
    if layer.parts:
        return apart(layer.parts.values(), Factors(a_RI, b_OR))
    own = layer.factors
    rank, device = len(own.a_RI), own.a_RI.device
    own.a_RI.copy_(a_RI[:rank])
    own.b_OR.copy_(b_OR[:, :rank])
    if initial(layer) is not None:
        restart_from(layer, Factors(a_RI[rank:].to(device), -b_OR[:, rank:].to(device)))
    return True


def _add_to_base(layer: AdaptedLinear, factors: Factors, *, sign: int) -> None:
    weight = layer.base.weight
    part_OI = sign * layer.scale * (factors.b_OR @ factors.a_RI)
    changed = weight.detach().float() + (part_OI.t() if layer.transposed else part_OI)
    layer.base.weight = nn.Parameter(changed.to(weight.dtype), requires_grad=False)
