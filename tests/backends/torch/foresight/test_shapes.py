"""Results of operations, remembered by shapes: they are those that torch's fake tensors give, and what is alive too."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.nn import functional as F

from tunelab import catalogue
from tunelab.api.studies import load_study
from tunelab.backends.torch.foresight import shapes
from tunelab.backends.torch.foresight.forecasting import forecast
from tunelab.backends.torch.foresight.live import Live
from tunelab.kernels.attention import Rule, attention
from tunelab.study.planning.planned import Revisions
from tunelab.study.planning.run_config import method_run

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
    monkeypatch.setattr(shapes, "work_of", lambda func, args, made: asked.append(func) or shapes.Work())
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


MIXED: dict[str, tuple[Callable[[Tensor, Tensor], object], int]] = {
    "wide += narrow": (lambda wide, narrow: wide.add_(narrow), 64),
    "narrow += wide": (lambda wide, narrow: narrow.add_(wide), 128),
    "wide + narrow": (lambda wide, narrow: wide + narrow, 128),
    "narrow x a number": (lambda wide, narrow: narrow * 2.0, 32),
    "narrow x a tensor of one number": (lambda wide, narrow: narrow * torch.tensor(2.0), 32),
    "a comparison": (lambda wide, narrow: wide == narrow, 80),
    "a copy": (lambda wide, narrow: wide.copy_(narrow), 0),
    "a sum in a wider type": (lambda wide, narrow: narrow.sum(dtype=torch.float32), 64),
}
"""Of 16 Mi numbers in fp32 and in bf16: MiB that a CPU takes more while it computes."""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells a process's peak")
@pytest.mark.parametrize("name", list(MIXED))
def test_copies_that_an_operation_on_two_types_makes(name):
    work, wanted = MIXED[name]
    count = 16 * MIB

    def predicted() -> float:
        mode = FakeTensorMode()
        with mode:
            wide, narrow = torch.empty(count), torch.empty(count, dtype=torch.bfloat16)
        live = Live(mode, on_cpu=True)
        with mode, live:
            for each in (wide, narrow):
                live.add(each)
            before = len(live.events)
            made = work(wide, narrow)  # noqa: F841
            (highest, *_) = live.highest(fixed=before).values() or [{}]
        return (sum(highest.values()) - 6 * count) / MIB if highest else 0

    def measured() -> float:
        wide, narrow = torch.ones(count), torch.ones(count, dtype=torch.bfloat16)
        work(wide[:64], narrow[:64])
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        made = work(wide, narrow)  # noqa: F841
        return (_status("VmHWM") - before) / 1024

    assert predicted() == pytest.approx(wanted, abs=1)
    assert measured() == pytest.approx(wanted, abs=8)


def _status(field: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0])


METHODS = [name for name in catalogue.names("methods") if catalogue.load("methods", name).trains]
EXAMPLES = {
    "galore": {"rank": 8},
    "q_galore": {"rank": 8},
    "apollo": {"rank": 8},
    "lisa": {"layers": 1},
    "sequential": {"parts": [{"full": {}}, {"lora": {}}], "shares": [0.5, 0.5]},
    "layerwise": {"parts": [{"galore": {"rank": 8}}, {"lora": {}}], "first": "attention"},
    "peft_any": {"type": "LOHA", "r": 4},
}


@pytest.mark.parametrize("model", ["tunelab/tiny", "tunelab/tiny-seq2seq"])
def test_nothing_of_a_forecast_is_left_in_what_real_sessions_use(model):
    """A mask that a trace had left in a cache, without numbers, took the place of the real one: attention in the same
    process saw later tokens, and said nothing."""
    attention_after = _causal_error()
    methods = [{name: EXAMPLES.get(name, {})} for name in METHODS]
    plan = load_study({"model": model, "tasks": ["restaurants"], "methods": methods})
    source = 24 if "seq2seq" in model else 0
    told = 0
    for method in plan.methods:
        candidate = method.candidates[0]
        run = method_run(
            plan, plan.tasks[0], "torch", Revisions(precision="fp32"), method=method, seed=0, candidate=candidate
        )
        told += forecast(run, candidate.method, ((40, 12, source),) * 2, on_gpu=False) is not None
    assert told >= len(plan.methods) - 1
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is FakeTensor]
    assert _causal_error() == attention_after < 1e-5


def _causal_error() -> float:
    q, k, v = (torch.randn(1, 4, 40, 16, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    made = attention(q, k, v, None, None, Rule(0.25, True)).transpose(1, 2)
    return float((made - F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.25)).abs().max())
