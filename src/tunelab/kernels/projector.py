"""Projects a matrix's gradient onto few directions and back (GaLore: Zhao et al. 2024, arXiv:2403.03507).

A basis is found from a gradient and then used for many steps. `svd` is the paper's; `subspace` reaches the same
directions by block power iteration (Halko et al. 2011, arXiv:0909.4061), warm from the previous basis, at a fraction
of the time; `random` is Gaussian and drawn again whenever it is read, so that it is never stored.
"""
# O out = rows, I in = columns, R rank, K = R and some columns more

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from tunelab.errors import RunError
from tunelab.kernels.initial import generator

Kind = Literal["subspace", "svd", "random", "identity"]
Side = Literal["std", "reverse_std", "left", "right", "full"]
KINDS, SIDES = get_args(Kind), get_args(Side)
OVERSAMPLING = 16
"""Random columns beyond R, dropped at the end."""
COLD_STEPS, WARM_STEPS = 3, 2
"""Power steps without and with a previous basis."""
GROUP = 64
"""Numbers of a basis in 4 bits that share a scale and an offset."""


def projected_sides(shape: tuple[int, int], side: Side) -> tuple[str, ...]:
    """Which sides of an (O, I) gradient get a basis: `std` projects the shorter one (columns when square)."""
    if side in ("left", "right"):
        return (side,)
    if side == "full":
        return ("left", "right")
    short, long = ("right", "left") if shape[0] >= shape[1] else ("left", "right")
    return (short,) if side == "std" else (long,)


class Projector:
    """The bases of one matrix: `left` (O, R), `right` (I, R) or both, in the gradient's dtype or in 4 bits."""

    def __init__(
        self,
        shape: tuple[int, int],
        *,
        rank: int,
        kind: Kind,
        side: Side,
        name: str,
        seed: int,
        four_bits: bool = False,
    ) -> None:
        self.shape, self.rank, self.kind, self.name, self.seed = shape, rank, kind, name, seed
        self.sides = () if kind == "identity" else projected_sides(shape, side)
        self.four_bits = four_bits
        self.stored: dict[str, Tensor] = {}
        """What is held of the bases: each one, or its codes, scales and offsets."""
        self.num_refreshes = 0

    @property
    def bases(self) -> dict[str, Tensor]:
        """The bases that are held, side by side; fresh copies where they are in 4 bits."""
        if not self.four_bits:
            return self.stored
        return {side: self._unpacked(side) for side in self.sides if f"{side}_codes" in self.stored}

    def _hold(self, side: str, basis: Tensor) -> None:
        if not self.four_bits:
            self.stored[side] = basis
            return
        for part, value in zip(("codes", "scales", "offsets"), _to_four_bits(basis), strict=True):
            self.stored[f"{side}_{part}"] = value

    def _unpacked(self, side: str) -> Tensor:
        codes, scales, offsets = (self.stored[f"{side}_{part}"] for part in ("codes", "scales", "offsets"))
        return _from_four_bits(codes, scales, offsets, shape=(self._length(side), self.rank))

    def _length(self, side: str) -> int:
        return self.shape[0] if side == "left" else self.shape[1]

    @property
    def low_shape(self) -> tuple[int, int]:
        """Shape of a projected gradient."""
        rows, columns = self.shape
        return (self.rank if "left" in self.sides else rows, self.rank if "right" in self.sides else columns)

    @property
    def follows_gradients(self) -> bool:
        """Whether the bases are found from gradients."""
        return self.kind not in ("random", "identity")

    def refresh(self, grad_OI: Tensor) -> None:
        """New bases from this gradient; columns keep the signs of the old ones.

        Raises:
            RunError: the gradient is not finite, and has no directions.
        """
        self.num_refreshes += 1
        if not self.follows_gradients:
            return
        if not grad_OI.isfinite().all():
            raise RunError(
                f"{self.name}: its gradient is not finite and gives no basis; the run diverged, a lower learning rate "
                "or a longer warm-up usually helps"
            )
        bases = self.bases
        for side, basis in self._leading(grad_OI.float()).items():
            old = bases.get(side)
            if old is not None:
                basis = basis * torch.where((basis * old.float()).sum(0) < 0, -1.0, 1.0)
            self._hold(side, basis.to(grad_OI.dtype).contiguous())

    def _leading(self, grad_OI: Tensor) -> dict[str, Tensor]:
        if self.kind == "svd":
            left_OK, _, right_KI = torch.linalg.svd(grad_OI, full_matrices=False)
            found = {"left": left_OK[:, : self.rank], "right": right_KI[: self.rank].t()}
            return {side: found[side] for side in self.sides}
        bases = self.bases
        return {
            side: self._iterated(grad_OI if side == "right" else grad_OI.t(), bases.get(side), side)
            for side in self.sides
        }

    def _iterated(self, grad_OI: Tensor, old_IR: Tensor | None, side: str) -> Tensor:
        """Orthonormal (I, R), close to the leading right singular vectors and in their order."""
        columns = min(self.rank + OVERSAMPLING, *self.shape)
        shape, steps = (grad_OI.shape[1], columns), COLD_STEPS
        start_IK = self._normal(side, shape, draw=self.num_refreshes).to(grad_OI.device)
        if old_IR is not None:  # the random columns find what has become large since
            start_IK[:, : self.rank], steps = old_IR, WARM_STEPS
        basis_IK = _power_steps(grad_OI, start_IK, steps=steps)
        _, _, rotation_KK = torch.linalg.svd(grad_OI @ basis_IK, full_matrices=False)
        return basis_IK @ rotation_KK[: self.rank].t()

    def _normal(self, side: str, shape: tuple[int, int], *, draw: int) -> Tensor:
        key = f"{self.name}.{side}.{draw}"
        return torch.from_numpy(generator(seed=self.seed, name=key).standard_normal(shape, dtype=np.float32))

    def basis(self, side: str, like: Tensor) -> Tensor:
        """The basis of a side, on the device and in the dtype of `like`."""
        if self.kind != "random":
            return (self._unpacked(side) if self.four_bits else self.stored[side]).to(like)
        values = self._normal(side, (self._length(side), self.rank), draw=self.num_refreshes).mul_(self.rank**-0.5)
        return values.to(like)  # entries of variance 1/R keep lengths in the mean

    def project(self, grad_OI: Tensor) -> Tensor:
        """The gradient in the basis: G Q, P^T G or P^T G Q, of `low_shape`."""
        low = grad_OI
        if "left" in self.sides:
            low = self.basis("left", grad_OI).t() @ low
        if "right" in self.sides:
            low = low @ self.basis("right", grad_OI)
        return low.contiguous()

    def add_back(self, weight_OI: Tensor, low: Tensor, *, scale: float) -> None:
        """weight += scale * (the projected step, back in full size), in place and without a copy of that size."""
        if not self.sides:
            weight_OI.add_(low, alpha=scale)
            return
        if self.sides == ("right",):
            weight_OI.addmm_(low, self.basis("right", low).t(), alpha=scale)
            return
        if "right" in self.sides:
            low = low @ self.basis("right", low).t()
        weight_OI.addmm_(self.basis("left", low), low, alpha=scale)

    def state(self) -> dict[str, Tensor]:
        """Plain tensors: the bases, and how often they were refreshed."""
        return {**self.stored, "num_refreshes": torch.tensor(self.num_refreshes)}

    def load_state(self, state: dict[str, Tensor], *, device: torch.device) -> None:
        """Put back what `state` gave."""
        self.num_refreshes = int(state["num_refreshes"])
        self.stored = {key: value.to(device, copy=True) for key, value in state.items() if key != "num_refreshes"}


def _power_steps(grad_OI: Tensor, start_IK: Tensor, *, steps: int) -> Tensor:
    """Orthonormal (I, K) after `steps` products with G and G^T. Made orthonormal after each of the two: squared
    singular values would lose, in fp32, all directions below 1/3,000 of the largest."""
    basis_IK = start_IK
    for _ in range(steps):
        basis_OK = torch.linalg.qr(grad_OI @ basis_IK).Q
        basis_IK = torch.linalg.qr(grad_OI.t() @ basis_OK).Q
    return basis_IK


def _to_four_bits(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Codes 0 to 15, two a byte, with a scale and an offset a group; fp32 scales."""
    flat = values.float().flatten()
    grouped = torch.nn.functional.pad(flat, (0, -flat.numel() % GROUP)).view(-1, GROUP)
    lowest, highest = grouped.aminmax(dim=1, keepdim=True)
    scales = ((highest - lowest) / 15).clamp(min=1e-12)
    codes = ((grouped - lowest) / scales).round().clamp_(0, 15).to(torch.uint8).flatten()
    return codes[::2] | (codes[1::2] << 4), scales.flatten(), lowest.flatten()


def _from_four_bits(codes: Tensor, scales: Tensor, offsets: Tensor, *, shape: tuple[int, int]) -> Tensor:
    """fp32 of that shape."""
    grouped = torch.stack((codes & 15, codes >> 4), dim=1).view(-1, GROUP).float()
    flat = grouped.mul_(scales[:, None]).add_(offsets[:, None]).flatten()
    return flat[: shape[0] * shape[1]].view(shape)


def overlap(basis_IR: Tensor, other_IR: Tensor) -> float:
    """Share of one orthonormal basis that lies in the other's span: ||A^T B||_F^2 / R, 1 for the same subspace."""
    return float((basis_IR.t() @ other_IR).square().sum() / other_IR.shape[1])
