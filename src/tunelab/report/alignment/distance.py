"""How far two trained models lie apart: relative L2 distances of what two runs have saved, read without a framework.

Of low-rank adapters also the distance of the products s B A, which are what the model computes with: A and B may differ
where their product does not. With dB = B' - B and dA = A' - A,

    s' B' A' - s B A = [d(sB), s' B'] [A; dA]

whose norm is that of two small Gram matrices; no product of a whole layer is formed, and nothing large cancels.
"""
# I = in features, O = out features, R = rank

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from tunelab.report.reading import RunRecords

LARGEST_FILE = 512 * 2**20
"""Bytes; a larger file is not read."""
NUM_NAMED = 3
BLOCK = 2**20
"""Numbers."""

FACTOR = re.compile(r"(?P<layer>.+)\.lora_(?P<which>[AB])(\.default)?(\.weight)?$")


class Tensor(NamedTuple):
    """One tensor of two runs."""

    name: str
    relative: float
    """Norm of the difference by the first one's norm; infinite where only the first is 0."""


class Distance(NamedTuple):
    """Of everything that two runs have saved. None: nothing could be compared."""

    relative: float | None
    """Over all numbers together."""
    num_tensors: int
    largest: tuple[Tensor, ...]
    """Those that lie furthest apart."""
    product: float | None
    """Of all s B A together; None where there are none."""
    tensors: tuple[Tensor, ...]
    notes: tuple[str, ...]
    """What was not compared."""


class _Sums(NamedTuple):
    """Of squares."""

    difference: float
    first: float

    @property
    def relative(self) -> float:
        return relative(self.difference, self.first)


def distance(first: RunRecords, other: RunRecords) -> Distance:
    """Between what the two have saved in their model folders."""
    folders = [run.folder / "model" for run in (first, other)]
    files = [_files(folder) for folder in folders]
    notes: list[str] = []
    if not all(files):
        return Distance(None, 0, (), None, (), ("no saved weights of one of the runs",))
    sums: dict[str, _Sums] = {}
    products: list[_Sums] = []
    for name in sorted(set(files[0]) | set(files[1])):
        if name not in files[0] or name not in files[1]:
            notes.append(f"{name} was saved by one of them alone")
        elif max(found[name].stat().st_size for found in files) > LARGEST_FILE:
            notes.append(f"{name} is above {LARGEST_FILE >> 20} MiB and was not read")
        else:
            try:
                read = _compare(files[0][name], files[1][name], notes)
                products += _products(files[0][name], files[1][name], notes)
            except (OSError, ValueError, SafetensorError) as error:
                notes.append(f"{name} cannot be read: {error}")
                continue
            sums |= {f"{name}: {tensor}" if len(files[0]) > 1 else tensor: each for tensor, each in read.items()}
    tensors = tuple(Tensor(name, each.relative) for name, each in sums.items())
    return Distance(
        relative=_over(sums.values()) if sums else None,
        num_tensors=len(tensors),
        largest=tuple(sorted(tensors, key=lambda tensor: -tensor.relative)[:NUM_NAMED]),
        product=_over(products) if products else None,
        tensors=tensors,
        notes=tuple(notes),
    )


def relative(difference: float, first: float) -> float:
    """From sums of squares."""
    if difference == 0:
        return 0.0
    return math.sqrt(difference / first) if first > 0 else math.inf


def product_sums(
    first: tuple[np.ndarray, np.ndarray, float], other: tuple[np.ndarray, np.ndarray, float]
) -> tuple[float, float]:  # fmt: skip
    """Squared norms of s' B' A' - s B A and of s B A, from (A, B, s) of both, of the same shapes."""
    (a_RI, b_OR, scale), (other_a_RI, other_b_OR, other_scale) = first, other
    b_OR, other_b_OR = b_OR * scale, other_b_OR * other_scale
    left = np.concatenate([other_b_OR - b_OR, other_b_OR], axis=1)
    right = np.concatenate([a_RI, other_a_RI - a_RI], axis=0)
    return _gram(left, right), _gram(b_OR, a_RI)


def _gram(left_OR: np.ndarray, right_RI: np.ndarray) -> float:
    """Squared norm of left @ right."""
    return max(0.0, float(np.sum((left_OR.T @ left_OR) * (right_RI @ right_RI.T))))


def _over(sums: Iterable[_Sums]) -> float:
    every = list(sums)
    return relative(math.fsum(each.difference for each in every), math.fsum(each.first for each in every))


def _files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.safetensors"))}


def _compare(first: Path, other: Path, notes: list[str]) -> dict[str, _Sums]:
    """By tensor; a pair at a time is in memory."""
    found = {}
    with _Reader(first) as mine, _Reader(other) as theirs:
        one_sided = set(mine.names) ^ set(theirs.names)
        if one_sided:
            notes.append(f"{first.name}: {_some(sorted(one_sided))} saved by one of them alone")
        codes, shapes, unread, broken = [], [], [], []
        for name in (name for name in mine.names if name not in one_sided):
            if mine.shape(name) != theirs.shape(name):
                shapes.append(name)
            elif not (mine.is_real(name) and theirs.is_real(name)):
                (codes if mine.is_whole(name) and theirs.is_whole(name) else unread).append(name)
            else:
                sums = _squares(mine.get(name), theirs.get(name))
                if math.isfinite(sums.difference) and math.isfinite(sums.first):
                    found[name] = sums
                else:
                    broken.append(name)
        same = sum(bool(np.array_equal(mine.raw(name), theirs.raw(name))) for name in codes)
        if codes:
            notes.append(
                f"{first.name}: {len(codes)} tensors of whole numbers (codes) are in no distance; {same} of them are "
                "the same"
            )
        for names, why in ((shapes, "of different shapes"), (unread, "of types that are not read"),
                           (broken, "with values that are not finite")):  # fmt: skip
            if names:
                notes.append(f"{first.name}: {_some(names)} {why}")
    return found


def _squares(first: np.ndarray, other: np.ndarray) -> _Sums:
    """In float64, a block at a time: an embedding of a large vocabulary never stands in memory twice as wide."""
    first, other = first.reshape(-1), other.reshape(-1)
    difference = own = 0.0
    for start in range(0, len(first), BLOCK):
        left = first[start : start + BLOCK].astype(np.float64)
        own += float(np.sum(left**2))
        difference += float(np.sum((other[start : start + BLOCK] - left) ** 2))
    return _Sums(difference, own)


def _products(first: Path, other: Path, notes: list[str]) -> list[_Sums]:
    """Of every layer that has A and B in both."""
    configs = [_adapter(path) for path in (first, other)]
    if not all(configs):
        return []
    found, skipped = [], []
    with _Reader(first) as mine, _Reader(other) as theirs:
        for layer, (a, b) in _layers(mine.names).items():
            if any(name not in theirs.names or mine.shape(name) != theirs.shape(name) for name in (a, b)):
                continue  # said by _compare
            if any(len(side.shape(name)) != 2 or not side.is_real(name) for side in (mine, theirs) for name in (a, b)):
                skipped.append(layer)
                continue
            scales = [_scale(config, layer, mine.shape(a)[0]) for config in configs]
            sides = [(side.wide(a), side.wide(b), scale) for side, scale in zip((mine, theirs), scales, strict=True)]
            found.append(_Sums(*product_sums(*sides)))
    if skipped:
        notes.append(f"{first.name}: no product of {_some(skipped)}, whose factors are no matrices of real numbers")
    return found


def _layers(names: list[str]) -> dict[str, tuple[str, str]]:
    """Layer -> names of its A and B. None where a third factor stands between them (AdaLoRA's E)."""
    if any("lora_E" in name for name in names):
        return {}
    factors: dict[str, dict[str, str]] = {}
    for name in names:
        if match := FACTOR.match(name):
            factors.setdefault(match["layer"], {})[match["which"]] = name
    return {layer: (both["A"], both["B"]) for layer, both in factors.items() if len(both) == 2}


def _adapter(path: Path) -> dict[str, Any]:
    """PEFT's adapter_config.json beside the weights; empty: none that says how B A is scaled."""
    try:
        found = json.loads((path.parent / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and "lora_alpha" in found else {}


def _scale(config: Mapping[str, Any], layer: str, rank: int) -> float:
    """alpha / rank, by root of the rank where the adapter says so; alpha_pattern as PEFT reads it."""
    alpha = config["lora_alpha"]
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", layer):
            alpha = value
            break
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:NUM_NAMED])
    return shown if len(names) <= NUM_NAMED else f"{shown} and {len(names) - NUM_NAMED} more"


class _Reader:
    """One file, a tensor at a time; bfloat16, which numpy has not, by its bytes as float32."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = safe_open(path, framework="numpy")
        with path.open("rb") as file:
            self._start = 8 + (size := int.from_bytes(file.read(8), "little"))
            self._header = json.loads(file.read(size))
        self.names = sorted(name for name in self._header if name != "__metadata__")

    def __enter__(self) -> _Reader:
        self._file.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._file.__exit__(*error)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._header[name]["shape"])

    def is_real(self, name: str) -> bool:
        return self._header[name]["dtype"] in ("F64", "F32", "F16", "BF16")

    def is_whole(self, name: str) -> bool:
        return self._header[name]["dtype"].startswith(("I", "U", "BOOL"))

    def raw(self, name: str) -> np.ndarray:
        return self._file.get_tensor(name)

    def get(self, name: str) -> np.ndarray:
        if self._header[name]["dtype"] != "BF16":
            return self.raw(name)
        begin, end = self._header[name]["data_offsets"]
        with self._path.open("rb") as file:
            file.seek(self._start + begin)
            halves = np.frombuffer(file.read(end - begin), dtype="<u2")
        return (halves.astype(np.uint32) << 16).view(np.float32).reshape(self.shape(name))

    def wide(self, name: str) -> np.ndarray:
        return self.get(name).astype(np.float64)
