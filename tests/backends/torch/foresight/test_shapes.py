"""Results of operations, remembered by shapes: they are those that torch's fake tensors give, and what is alive too."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.nn import functional as F

import tunelab
from tunelab import catalogue
from tunelab.backends.torch.foresight import shapes
from tunelab.backends.torch.foresight.live import Live
from tunelab.kernels.attention import Rule, attention

MIB = 2**20
OPERATIONS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "a product": lambda x, y: x @ y.t(),
    "views": lambda x, y: x.view(-1, 2)[3:].transpose(0, 1).unsqueeze(1).expand(2, 5, -1),
    "several outputs": lambda x, y: x.unbind(0),
    "parts": lambda x, y: x.split(3, dim=1),
    "one in place": lambda x, y: x.add_(y),
    "a view in place": lambda x, y: x[1].mul_(2.0),
    "another type": lambda x, y: (x.bfloat16(), x > 0, x.sum(dtype=torch.float64)),
    "the same twice": lambda x, y: x * x,
    "outputs of several kinds": lambda x, y: torch.max(x, dim=0),
    "into one that is there": lambda x, y: torch.mul(x, y, out=torch.empty_like(x)),
    "a list": lambda x, y: torch.cat([x, y, x], dim=1),
    "no tensor": lambda x, y: torch.zeros(3, 4).triu(1),
    "nothing": lambda x, y: x[:0] * 2,
    "strides": lambda x, y: torch.empty_strided((4, 3), (1, 8)),
    "a row of": lambda x, y: F.layer_norm(x, (8,)),
    "indices": lambda x, y: x[torch.tensor([0, 2])],
}


def facts(made: object) -> object:
    if isinstance(made, Tensor):
        storage = made.untyped_storage()
        return tuple(made.shape), made.stride(), made.storage_offset(), made.dtype, str(made.device), storage.nbytes()
    return [facts(each) for each in made] if isinstance(made, list | tuple) else made


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_what_is_remembered_is_what_torch_gives(name):
    """The first call is torch's own, the second is from memory, the third of a mode without either."""
    told, alive = [], []
    for lives in (True, True, False):
        mode = FakeTensorMode()
        with mode:
            x, y = torch.empty(6, 8), torch.empty(6, 8)
        live = Live(mode, on_cpu=False)
        with mode:
            if lives:
                with live:
                    made = OPERATIONS[name](x, y)
            else:
                made = OPERATIONS[name](x, y)
        told.append(facts(made))
        alive.append([event.num_bytes for event in live.events])
    assert told[0] == told[1] == told[2]
    assert alive[0] == alive[1]


def test_a_view_shares_the_storage_of_the_tensor_that_is_given_now():
    mode = FakeTensorMode()
    with mode:
        first, second = torch.empty(6, 8), torch.empty(6, 8)
    with mode, Live(mode, on_cpu=False):
        views = [each.transpose(0, 1) for each in (first, second, second)]
    addresses = [each.untyped_storage()._cdata for each in (first, second, second)]
    assert [view.untyped_storage()._cdata for view in views] == addresses


def test_the_second_call_is_from_memory(monkeypatch):
    mode, asked = FakeTensorMode(), []
    monkeypatch.setattr(shapes, "work_of", lambda func, *given: asked.append(func) or shapes.Work())
    monkeypatch.setattr(shapes, "_KNOWN", {})
    with mode:
        x = torch.empty(6, 8)
    with mode, Live(mode, on_cpu=False):
        for _ in range(3):
            x * 2.0
        x * 2  # another type of number
    assert len(asked) == 2


def test_real_tensors_and_calls_without_any_are_left_to_torch():
    with Live(on_cpu=True):
        made = torch.zeros(3) + torch.ones(3)
    assert made.tolist() == [1.0, 1.0, 1.0]


def test_real_tensors_may_be_made_while_the_mode_is_left():
    mode = FakeTensorMode()
    with mode, Live(mode, on_cpu=False):
        assert type(torch.zeros(3, 4)) is FakeTensor
        with unset_fake_temporarily():
            assert type(torch.zeros(3, 4)) is Tensor
        assert type(torch.zeros(3, 4)) is FakeTensor


def test_views_in_inference_mode_and_conjugates_are_torchs_own():
    mode = FakeTensorMode()
    with mode:
        x, z = torch.empty(6, 8), torch.empty(6, 8, dtype=torch.complex64)
    with mode, Live(mode, on_cpu=False):
        for _ in range(2):
            assert not x.t().is_inference()
            with torch.inference_mode():
                assert not x.t().is_inference() and torch.empty(2).is_inference()
            assert not z.t().is_conj() and z.conj().t().is_conj()


def test_a_tensor_that_is_given_twice_is_not_two_of_one_shape():
    """Into itself it is copied, into another it is not."""
    mode, taken = FakeTensorMode(), []
    with mode:
        x, z, y = torch.empty(8, dtype=torch.int32), torch.empty(8), torch.empty(8)
    for outs in ((z, y), (y, z)):
        for out in outs:
            with mode:
                live = Live(mode, on_cpu=True)
                with live:
                    torch.mul(x, y, out=out)
            taken.append([event.num_bytes for event in live.events])
    assert taken[0] == taken[3] and taken[1] == taken[2]


def test_a_number_of_a_tensor_is_of_its_kind():
    mode = FakeTensorMode()
    with mode, Live(mode, on_cpu=False):
        told = [torch.ones(3, dtype=kind).sum(dtype=kind).item() for kind in (torch.float32, torch.int64, torch.bool)]
    assert [type(each) for each in told] == [float, int, bool]


MIXED: dict[str, tuple[Callable[[dict[str, Tensor]], object], int]] = {
    "wide += narrow": (lambda x: x["fp32"].add_(x["bf16"]), 4),
    "narrow += wide": (lambda x: x["bf16"].add_(x["fp32"]), 8),
    "wide + narrow": (lambda x: x["fp32"] + x["bf16"], 8),
    "narrow x a number": (lambda x: x["bf16"] * 2.0, 2),
    "narrow x a tensor of one number": (lambda x: x["bf16"] * torch.tensor(2.0), 2),
    "a comparison": (lambda x: x["fp32"] == x["bf16"], 5),
    "a copy": (lambda x: x["fp32"].copy_(x["bf16"]), 0),
    "a sum in a wider type": (lambda x: x["bf16"].sum(dtype=torch.float32), 4),
    "a norm in a wider type": (lambda x: torch.linalg.vector_norm(x["bf16"], dtype=torch.float32), 4),
    "a choice": (lambda x: torch.where(x["bool"], x["fp32"], x["bf16"]), 8),
    "a mask filled": (lambda x: x["bf16"].masked_fill(x["bool"], 0.0), 2),
    "a mask as a factor": (lambda x: x["fp32"] * x["bool"], 8),
    "whole numbers and a broken one": (lambda x: x["int32"] * 2.0, 8),
    "whole numbers above a broken one": (lambda x: x["int32"] > 2.5, 5),
    "a quotient of whole numbers": (lambda x: x["int32"] / x["int32"], 12),
    "into a narrow one": (lambda x: torch.mul(x["fp32"], x["fp32"], out=x["bf16"]), 4),
    "into a wide one": (lambda x: torch.mul(x["bf16"], x["bf16"], out=x["fp32"]), 2),
}
"""Bytes that a CPU takes for each number, of what is made and beside it."""
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "bool": torch.bool, "int32": torch.int32}
COUNT = 40 * MIB
"""Of numbers: from 32 MiB on glibc takes a piece from the system, and not from what it holds."""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells a process's peak")
@pytest.mark.parametrize("name", list(MIXED))
def test_copies_that_an_operation_on_two_types_makes(name):
    work, wanted = MIXED[name]

    def predicted() -> float:
        mode = FakeTensorMode()
        with mode:
            given = {name: torch.empty(COUNT, dtype=dtype) for name, dtype in TYPES.items()}
        live = Live(mode, on_cpu=True)
        with mode, live:
            for each in given.values():
                live.add(each)
            held, before = sum(event.num_bytes for event in live.events), len(live.events)
            made = work(given)  # noqa: F841
            highest = [sum(parts.values()) for parts in live.highest(fixed=before).values()]
        return (max(highest) - held) / COUNT if highest else 0

    def measured() -> float:
        given = {name: torch.ones(COUNT, dtype=dtype) for name, dtype in TYPES.items()}
        work({name: value[:64] for name, value in given.items()})
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        made = work(given)  # noqa: F841
        return (_status("VmHWM") - before) * 1024 / COUNT

    assert predicted() == pytest.approx(wanted, abs=0.01)
    assert measured() == pytest.approx(wanted, abs=0.4)


def _status(field: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0])


STUDY: dict[str, Any] = {
    "tasks": ["restaurants"],
    "methods": [
        {"full": {"optimizer": "adamw8bit"}}, {"q_galore": {"rank": 8}}, {"full": {"optimizer": "adafactor"}}, "lora",
        {"galore": {"rank": 8}}, {"apollo": {"rank": 8}}, {"lisa": {"layers": 1}}, "rosa", "dora", "qlora",
        {"peft_any": {"type": "LOHA", "r": 4}},
        {"sequential": {"parts": [{"full": {}}, {"lora": {}}], "shares": [0.5, 0.5]}},
        {"layerwise": {"parts": [{"galore": {"rank": 8}}, {"lora": {}}], "first": "attention"}},
    ],
}  # fmt: skip
"""Every method that trains; first those that import libraries while they are followed."""


@pytest.mark.slow
@pytest.mark.parametrize("model", ["tunelab/tiny", "tunelab/tiny-seq2seq"])
def test_nothing_of_a_forecast_is_left_in_what_real_sessions_use(model, tmp_path):
    """A mask that a trace had left in a cache, without numbers, took the place of the real one: attention in the same
    process saw later tokens, and said nothing. In a process of its own, where nothing was imported or kept before."""
    names = {next(iter(each)) if isinstance(each, dict) else each for each in STUDY["methods"]}
    assert names == {name for name in catalogue.names("methods") if catalogue.load("methods", name).trains}
    study = json.dumps({"model": model, **STUDY})
    done = subprocess.run(
        [sys.executable, __file__, study],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TUNELAB_CACHE": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["forecasts"] == len(STUDY["methods"])
    assert told["left"] == []
    assert told["error"] < 1e-5


def _forecasts(study: dict[str, Any]) -> dict[str, Any]:
    found = tunelab.memory(study, "1GiB", device="cpu")
    gc.collect()
    left = [str(tuple(each.shape)) for each in gc.get_objects() if type(each) is FakeTensor]
    told = sum(each.forecast is not None for each in found.methods)
    return {"forecasts": told, "left": left, "error": _causal_error()}


def _causal_error() -> float:
    q, k, v = (torch.randn(1, 4, 40, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    made = attention(q, k, v, None, None, Rule(0.25, True)).transpose(1, 2)
    return float((made - F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.25)).abs().max())


if __name__ == "__main__":
    print(json.dumps(_forecasts(json.loads(sys.argv[1]))))
