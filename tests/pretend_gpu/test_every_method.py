"""Every trained method on a device that is not the CPU: equal to the CPU, and nothing stays behind there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunelab import catalogue

pytestmark = pytest.mark.slow

TRAINED = [name for name in catalogue.names("methods") if catalogue.load("methods", name).trains]
VARIANTS = [
    "full, 8-bit moments", "full, Adafactor", "galore, a basis that turns", "q_galore, a basis that turns",
    "lora, dropout", "rosa over nf4", "qlora, paged", "adalora",
]  # fmt: skip
MADE_OF_RUNS = ["merge", "ensemble"]
NARROW = ["full", "galore", "lora", "q_galore", "qlora", "rosa", "sequential"]
"""Those with kernels of our own: under bf16 they choose dtypes themselves."""
EXAMINED = {
    ("llama", "fp32"): [*TRAINED, *VARIANTS, *MADE_OF_RUNS],
    ("t5", "fp32"): [*TRAINED, "galore, a basis that turns", "rosa over nf4"],
    ("llama", "bf16"): [*TRAINED, "rosa over nf4"],
    ("t5", "bf16"): NARROW,
}


def examined(kind: str, precision: str, folder: Path) -> dict[str, list[str]]:
    command = [sys.executable, "-m", "pretend_gpu.examined", kind, precision, str(folder), *EXAMINED[kind, precision]]
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "complaints.json").read_text())


@pytest.fixture(scope="module")
def complaints(tmp_path_factory):
    known = {}

    def of(kind: str, precision: str) -> dict[str, list[str]]:
        if (kind, precision) not in known:
            known[kind, precision] = examined(kind, precision, tmp_path_factory.mktemp(f"{kind}-{precision}"))
        return known[kind, precision]

    return of


@pytest.mark.parametrize(("kind", "precision"), list(EXAMINED), ids=lambda value: value)
def test_on_another_device_everything_is_as_on_the_cpu(kind, precision, complaints):
    found = {name: said for name, said in complaints(kind, precision).items() if said}
    assert not found, "\n".join(f"{name}: {line}" for name, said in found.items() for line in said)
    assert sorted(complaints(kind, precision)) == sorted(EXAMINED[kind, precision])
