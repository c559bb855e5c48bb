"""Published peaks of GPUs that one may rent or own: dense products, without sparsity, at boost clock.

No run reaches them; whoever predicts from them says with which efficiency.
"""

from __future__ import annotations

from typing import NamedTuple

from tunelab.computation.effort import Function, Shape
from tunelab.errors import ConfigError
from tunelab.near import did_you_mean

TERA, GIGA = 1e12, 1e9


class Peak(NamedTuple):
    """One GPU, of the variant that its comment names."""

    half_flops: float
    """FLOP/s of products in bf16 (fp16 where there is no bf16) that are added up in fp32, on tensor cores."""
    fp32_flops: float
    """Of true fp32: what `precision: fp32` computes."""
    tf32_flops: float | None
    """Of fp32 rounded to TF32, which no run of tunelab asks for. None: it has none."""
    bytes_per_second: float
    memory_gib: float
    """As sold; driver, context and ECC keep 1 to 8 % of it."""
    has_bf16: bool = True


PEAKS: dict[str, Peak] = {
    # H100 SXM5 80 GB, NVIDIA H100 Tensor Core GPU datasheet: 1,979 and 989 TFLOPS with sparsity are halved.
    "h100": Peak(989.4 * TERA, 67 * TERA, 494.7 * TERA, 3350 * GIGA, 80),
    # H200 SXM 141 GB, NVIDIA H200 datasheet: the H100's chip with other memory.
    "h200": Peak(989.4 * TERA, 67 * TERA, 494.7 * TERA, 4800 * GIGA, 141),
    # A100 SXM4 80 GB, NVIDIA A100 Tensor Core GPU datasheet; the one of 40 GB has 1,555 GB/s.
    "a100": Peak(312 * TERA, 19.5 * TERA, 156 * TERA, 2039 * GIGA, 80),
    # NVIDIA L40S datasheet.
    "l40s": Peak(362.05 * TERA, 91.6 * TERA, 183 * TERA, 864 * GIGA, 48),
    # NVIDIA L4 datasheet: 242 and 120 TFLOPS with sparsity are halved.
    "l4": Peak(121 * TERA, 30.3 * TERA, 60 * TERA, 300 * GIGA, 24),
    # NVIDIA T4 Tensor Core GPU datasheet: 65 TFLOPS of fp16; 320 GB/s as in the Turing whitepaper.
    "t4": Peak(65 * TERA, 8.1 * TERA, None, 320 * GIGA, 16, has_bf16=False),
    # A10G, NVIDIA A10G datasheet for Amazon EC2 (g5): fewer tensor operations than the A10.
    "a10g": Peak(70 * TERA, 35 * TERA, 35 * TERA, 600 * GIGA, 24),
    # V100 SXM2 32 GB, NVIDIA V100 datasheet.
    "v100": Peak(125 * TERA, 15.7 * TERA, None, 900 * GIGA, 32, has_bf16=False),
    # GeForce RTX 4090, NVIDIA Ada GPU architecture whitepaper, appendix: bf16 with fp32 accumulate.
    "rtx4090": Peak(165.2 * TERA, 82.6 * TERA, 82.6 * TERA, 1008 * GIGA, 24),
    # GeForce RTX 3090, NVIDIA GA102 whitepaper, appendix: bf16 with fp32 accumulate, dense.
    "rtx3090": Peak(71 * TERA, 35.6 * TERA, 35.6 * TERA, 936 * GIGA, 24),
}


def peak(name: str) -> Peak:
    """By its name in whatever case, 'RTX 4090' and 'rtx-4090' too.

    Raises:
        ConfigError: it is not in the table.
    """
    known = PEAKS.get(name.casefold().replace(" ", "").replace("-", "").replace("_", ""))
    if known is None:
        raise ConfigError(
            f"no peaks of a device called {name!r} are known.{did_you_mean(name, PEAKS)} There are: {', '.join(PEAKS)}"
        )
    return known


class Estimate(NamedTuple):
    """Work on a GPU that is not here."""

    peak: Peak
    of_products: float = 0.5
    """The share of the published rate that large products reach. A guess: training of language models is published
    with 30 to 60 % of the peak."""
    of_bytes: float = 0.7
    """The same of the memory's. A guess."""
    operation_seconds: float = 5e-6
    """Of a call, by Python, autograd and the launch of a kernel, which the device does not wait for. A guess."""
    module_seconds: float = 2e-5
    overlaps: bool = True

    def product_seconds(self, shape: Shape, dtype: str) -> float:
        """Bound by arithmetic, or by reading and writing three matrices."""
        flops = self.peak.fp32_flops if dtype == "fp32" else self.peak.half_flops
        rows, inputs, outputs, batch = shape
        moved = batch * (rows * inputs + inputs * outputs + rows * outputs) * (4 if dtype == "fp32" else 2)
        return max(shape.flops / (self.of_products * flops), moved / (self.of_bytes * self.peak.bytes_per_second))

    def pass_rate(self, function: Function, dtype: str, num_bytes: float) -> float:
        return self.of_bytes * self.peak.bytes_per_second

    @property
    def said(self) -> str:
        return (
            f"{self.of_products:.0%} of the published products a second, {self.of_bytes:.0%} of the memory's rate, "
            f"{self.operation_seconds * 1e6:.0f} microseconds a call and {self.module_seconds * 1e6:.0f} a layer"
        )
