"""Calibrations in the user's cache folder: a file for each machine, device, version of PyTorch and number of threads.

One that is damaged, or of another format, is measured anew.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from pydantic import ValidationError

from tunelab import device
from tunelab.backends.torch.speed import measured, measured_passes
from tunelab.backends.torch.speed.calibration import Calibration, Machine
from tunelab.computation.effort import Shape
from tunelab.config.schema import Products
from tunelab.data.cache import cache_root
from tunelab.data.kept import digest
from tunelab.files import write_atomically

FORMAT = 3
"""Of the file."""
BUSY = 1.5
"""Times as slow as its best sample the machine was in the middle, from which on nothing is kept."""
SECONDS = 1.0
"""Of the products of the ladder; with copies and kernels that are chosen a machine is measured in one or two."""
LADDER = (
    *(Shape(side, side, side) for side in (256, 512, 1024, 2048)),
    Shape(16, 512, 512), Shape(32, 1024, 1024),  # few rows: a token a text
    Shape(1024, 1024, 8), Shape(1024, 8, 1024),  # an adapter's two
    Shape(1024, 256, 4096),  # up into many
)  # fmt: skip


_not_kept: dict[Path, Calibration] = {}
"""What this process has measured, where it could or should not be written."""


def calibration(
    *, threads: int, shapes: Sequence[Shape] = LADDER, dtypes: Sequence[Products] | None = None, anew: bool = False
) -> Calibration:
    """Of the chosen device: as it is kept, and what is not kept yet is measured and kept.

    Args:
        threads: as runs have them.
        shapes: that must be measured; those that were before stay.
        dtypes: left out: those that the device has in hardware.
        anew: forget what is kept.
    """
    machine = _machine(threads)
    file = _file(machine)
    before = None if anew else _read(file, machine) or _not_kept.get(file)
    done = {} if before is None else {(each.shape, each.dtype): each for each in before.products}
    types: Sequence[Products] = dtypes or measured.own_dtypes()
    wanted: list[tuple[Shape, Products]] = [(shape, dtype) for dtype in types for shape in shapes]
    lacking = [each for each in dict.fromkeys(wanted) if each not in done]
    if before is not None and not lacking:
        return before
    found = measured.products(lacking, threads=threads, seconds=SECONDS)
    made = Calibration(
        format=FORMAT, machine=machine, products=(*done.values(), *found.products),
        passes=before.passes if before else measured_passes.passes(threads=threads),
        bytes_per_second=before.bytes_per_second if before else measured.copied_bytes_per_second(threads=threads),
        **(before.calls if before else measured_passes.calls(threads=threads)),
        slower=found.slower, when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )  # fmt: skip
    _not_kept[file] = made
    if made.slower < BUSY:  # else the next process measures again
        with suppress(OSError):
            write_atomically(file, made.model_dump_json(indent=1))
            del _not_kept[file]
    return made


def known(*, threads: int) -> Calibration | None:
    """What is kept of this machine; nothing is measured."""
    machine = _machine(threads)
    return _read(_file(machine), machine)


def _file(machine: Machine) -> Path:
    return cache_root() / "speed" / f"{digest(machine.model_dump_json())}.json"


def _machine(threads: int) -> Machine:
    place = device.chosen()
    return Machine(
        host=platform.node(), processor=device.processor(), device=device.name(place),
        torch=metadata.version("torch"), threads=threads,
    )  # fmt: skip


def _read(file: Path, machine: Machine) -> Calibration | None:
    """None: not there, damaged, of another format, or of another machine than its name says."""
    try:
        found = Calibration.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
    whole = all(0 < rate < math.inf for rate in (found.bandwidth, *(each.flops_per_second for each in found.products)))
    return found if whole and (found.format, found.machine) == (FORMAT, machine) else None
