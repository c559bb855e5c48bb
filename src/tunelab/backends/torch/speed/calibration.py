"""What this machine's products and copies were measured at, kept in the user's cache folder: a file for each machine,
device, version of PyTorch and number of threads.
"""
# N rows, I inputs, O outputs

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from tunelab import device
from tunelab.data.cache import cache_root
from tunelab.data.kept import digest
from tunelab.files import write_atomically
from tunelab.records import Record

DType = Literal["fp32", "bf16", "fp16"]
FORMAT = 1
"""Of the file; one of another format is measured anew."""
SECONDS = 1.0
"""Of the products of the ladder; with copies and kernels that are chosen a machine is measured in one or two."""
NEARNESS = 4
"""How much more a shape counts that is nearer: its weight is its distance to the power of -4."""


class Shape(NamedTuple):
    """x (N, I) times the transpose of W (O, I)."""

    rows: int
    inputs: int
    outputs: int

    @property
    def flops(self) -> float:
        return 2.0 * self.rows * self.inputs * self.outputs


LADDER = (
    *(Shape(side, side, side) for side in (256, 512, 1024, 2048)),
    Shape(16, 512, 512), Shape(32, 1024, 1024),  # few rows: a token a text
    Shape(1024, 1024, 8), Shape(1024, 8, 1024),  # an adapter's two
    Shape(1024, 256, 4096),  # up into many
)  # fmt: skip


class Product(Record):
    """One shape in one type, by its best sample."""

    shape: Shape
    dtype: DType
    flops_per_second: float

    @property
    def name(self) -> str:
        return "x".join(map(str, self.shape))

    @property
    def giga(self) -> float:
        """GFLOP/s."""
        return self.flops_per_second / 1e9


class Calibration(Record):
    """Of one machine, device, PyTorch and number of threads."""

    format: int
    machine: str
    device: str
    """'cpu' or the GPU's name."""
    torch: str
    threads: int
    products: tuple[Product, ...]
    bytes_per_second: float
    """Read and written together, of a copy."""
    slower: float
    """How many times as long the clock ran as the samples computed: above 1.2 the machine had other work."""
    when: str
    """UTC, ISO 8601, of the last measurement."""

    @property
    def dtypes(self) -> tuple[DType, ...]:
        return tuple(dict.fromkeys(each.dtype for each in self.products))

    @property
    def bandwidth(self) -> float:
        """Bytes a second."""
        return self.bytes_per_second

    def rate(self, shape: Shape, dtype: DType) -> float:
        """FLOP/s: as measured, else between the measured shapes, the nearer ones counting more. Distances and rates are
        taken in their logarithms, so it is never above or below all that was measured."""
        known = [(product, _distance(product.shape, shape)) for product in self.products if product.dtype == dtype]
        assert known, f"{dtype} was not measured"
        for product, distance in known:
            if distance == 0:
                return product.flops_per_second
        weights = [distance**-NEARNESS for _, distance in known]
        logarithms = [math.log(product.flops_per_second) for product, _ in known]
        return math.exp(sum(map(math.prod, zip(weights, logarithms, strict=True))) / sum(weights))


def calibration(
    *, threads: int, shapes: Sequence[Shape] = LADDER, dtypes: Sequence[DType] | None = None, anew: bool = False
) -> Calibration:
    """Of the chosen device: as it is kept, and what is not kept yet is measured and kept.

    Args:
        threads: as runs have them.
        shapes: that must be measured; those that were before stay.
        dtypes: left out: those that the device has in hardware.
        anew: forget what is kept.
    """
    from tunelab.backends.torch.speed import measured

    identity = _identity(threads)
    file = cache_root() / "speed" / f"{digest(json.dumps(identity))}.json"
    before = None if anew else _read(file, identity)
    done = {} if before is None else {(each.shape, each.dtype): each for each in before.products}
    wanted = [(shape, dtype) for dtype in dtypes or measured.own_dtypes() for shape in shapes]
    lacking = [each for each in dict.fromkeys(wanted) if each not in done]
    if before is not None and not lacking:
        return before
    found = measured.products(lacking, threads=threads, seconds=SECONDS)
    made = Calibration(
        **identity, format=FORMAT, products=(*done.values(), *found.products),
        bytes_per_second=before.bytes_per_second if before else measured.copied_bytes_per_second(threads=threads),
        slower=found.slower,
        when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )  # fmt: skip
    with suppress(OSError):  # measured again next time
        write_atomically(file, made.model_dump_json(indent=1))
    return made


def _identity(threads: int) -> dict[str, str | int]:
    place = device.chosen()
    machine = f"{platform.node()}, {device.processor()}"
    return {"machine": machine, "device": device.name(place), "torch": metadata.version("torch"), "threads": threads}


def _read(file: Path, identity: dict[str, str | int]) -> Calibration | None:
    """None: not there, damaged, of another format, or of other things than its name says."""
    try:
        found = Calibration.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
    same = found.model_dump(include=set(identity)) == identity and found.format == FORMAT
    whole = all(0 < rate < math.inf for rate in (found.bandwidth, *(each.flops_per_second for each in found.products)))
    return found if same and whole else None


def _distance(one: Shape, other: Shape) -> float:
    """Octaves."""
    return math.dist([math.log2(side) for side in one], [math.log2(side) for side in other])
