"""Compiled kernels of products: a worker keeps few."""

import json
import subprocess
import sys

import pytest

import tiny
from tunelab.launch.executor import worker_environment

pytestmark = pytest.mark.slow

PRODUCTS = """
import ctypes, json, torch

class Use(ctypes.Structure):
    _fields_ = [(n, ctypes.c_size_t) for n in "arena a b c mapped d e used free top".split()]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Use

def used():
    now = mallinfo()
    return (now.used + now.mapped) / 2**20

torch.set_float32_matmul_precision("medium")
found = []
for round in range(3):
    for number in range(120):
        left = torch.ones(2 + number, 16 + 16 * round, 32)
        torch.bmm(left, left.transpose(1, 2))
    del left
    found.append(used())
print(json.dumps(found))
"""


def test_memory_does_not_grow_with_the_sizes_of_products():
    command = [sys.executable, "-c", PRODUCTS]
    done = subprocess.run(
        command, env=worker_environment(tiny.run_config()), capture_output=True, text=True, check=True
    )
    first, second, third = json.loads(done.stdout)
    assert max(second, third) - first < 20, (first, second, third)
