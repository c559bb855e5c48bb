"""What a step computes: torch's own counter finds as many floating-point operations in a real one."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig

from backends.torch.foresight.test_forecast import PAIRS, ROWS, planned
from tunelab.backends.torch.foresight import predict
from tunelab.backends.torch.foresight.forecasting import batch_of
from tunelab.backends.torch.foresight.live import Live
from tunelab.backends.torch.foresight.network import NoText
from tunelab.backends.torch.session import TorchSession
from tunelab.backends.torch.speed import measured_passes
from tunelab.backends.torch.storage import set_storage
from tunelab.computation.effort import Effort, Pass, Product, Shape, extended, narrowed, sum_of
from tunelab.config.schema import Optimizer
from tunelab.models.bitsandbytes_import import import_bitsandbytes
from tunelab.models.load import build, read_configuration
from tunelab.training.inner.optimizers import make_optimizer

IN_PLACE = {
    each: lambda own, left, right, *rest, **more: 2 * left[0] * left[1] * right[1]
    for each in (torch.ops.aten.addmm_, torch.ops.aten.baddbmm_)
}
"""Which torch's counter does not know."""


def efforts_of(name: str, rows=ROWS, **given):
    run, method = planned(name, **given)
    configuration = read_configuration(run.model) or {}
    found = predict.traced(run, method, configuration, batch_of(rows), on_gpu=False)
    return predict.efforts(found, tuple(rows))


def counted(name: str, rows=ROWS, **given) -> tuple[float, float]:
    """Floating-point operations of a real micro-batch, forward and backward, and of its losses."""
    run, method = planned(name, **given)
    configuration = read_configuration(run.model) or {}
    options = {key: value for key, value in configuration.items() if key not in ("model_type", "architectures")}
    config = AutoConfig.for_model(configuration["model_type"], **options)
    model = method.attach(build(config, tied=configuration.get("tie_word_embeddings")), seed=0)
    set_storage(model, precision=run.precision, weights=run.weights)
    session = TorchSession(model, method, run, NoText(), [])
    session.one_row, session.faster, _ = session._ways()[0]
    session.fast = session.plain_head = True
    batch = batch_of(rows)
    with FlopCounterMode(display=False, custom_mapping=IN_PLACE) as step:
        session.accumulate(batch, denominator=1.0, last=True)
    with FlopCounterMode(display=False, custom_mapping=IN_PLACE) as losses:
        session.losses([batch])
    return step.get_total_flops(), losses.get_total_flops()


@pytest.mark.parametrize(
    ("name", "rows", "given"),
    [("full", ROWS, {}), ("lora", ROWS, {}), ("lora", PAIRS, {"model": "tunelab/tiny-seq2seq"})],
)
def test_products_are_those_that_torch_counts_in_a_real_step(name, rows, given):
    found, (step, losses) = efforts_of(name, rows, **given), counted(name, rows, **given)
    assert found.micro_batch.flops == pytest.approx(step, rel=0.01)
    assert found.losses.flops == pytest.approx(losses, rel=0.01)


def test_a_deep_model_by_its_blocks_is_the_whole_model():
    run, method = planned("lora", settings='{"model": {"name": "tunelab/tiny"}}')
    configuration = {**(read_configuration(run.model) or {}), "num_hidden_layers": 7}
    by_blocks = predict.traced(run, method, configuration, batch_of(ROWS), on_gpu=False)
    whole = predict._followed(run, method, configuration, batch_of(ROWS), on_gpu=False)
    one, other = (predict.efforts(each, ROWS).micro_batch for each in (by_blocks, whole))
    assert one.flops == pytest.approx(other.flops)
    assert one.num_bytes == pytest.approx(other.num_bytes, rel=1e-3)
    assert (one.operations, one.modules) == (other.operations, other.modules)


def test_an_adapter_makes_no_gradient_of_the_weights():
    full, lora = efforts_of("full"), efforts_of("lora", options='{"rank": 2}')
    assert 0.6 < lora.micro_batch.flops / full.micro_batch.flops < 0.8
    assert lora.update.num_bytes < full.update.num_bytes / 20


def test_what_is_done_to_weights_alone_does_not_grow_with_the_tokens():
    weight, x = nn.Parameter(torch.ones(4, 3)), torch.ones(2, 3)
    live = Live(on_cpu=True)
    with live, torch.no_grad():
        live.add(weight, "weights, frozen, float32")
        halves = weight.to(torch.bfloat16) * 2
        (x * 2) @ halves.float().T
    (effort,) = live.effort.efforts().values()
    sizes = {(each.function, each.fixed): 0 for each, _ in effort.passes}
    for each, size in effort.passes:
        sizes[each.function, each.fixed] += size
    assert sizes == {("cast", True): 12 * 6 * 2, ("move", True): 12 * 4, ("move", False): 6 * 8}
    assert effort.products == ((Product("fp32", Shape(2, 3, 4)), 1),)


ONE = Effort(((Product("fp32", Shape(8, 4, 4)), 2),), ((Pass("move", "fp32", 3, False), 16),), 5, 1)
TWO = Effort(
    ((Product("fp32", Shape(8, 4, 4)), 3), (Product("bf16", Shape(2, 2, 2)), 1)),
    ((Pass("move", "fp32", 3, True), 8),),
    7,
    2,
)


def test_sums_lines_and_fewer_tokens():
    both = sum_of([ONE, TWO])
    assert (both.flops, both.num_bytes, both.operations, both.modules) == (5 * 256 + 16, 24, 12, 3)
    further = extended(ONE, TWO, lambda low, high: low + 2 * (high - low))
    assert dict(further.products) == {Product("fp32", Shape(8, 4, 4)): 4, Product("bf16", Shape(2, 2, 2)): 2}
    assert (further.operations, further.modules) == (9, 3)
    few = narrowed(sum_of([ONE, TWO]), 0.25)
    assert dict(few.products)[Product("fp32", Shape(2, 4, 4))] == 5
    assert dict(few.passes) == {Pass("move", "fp32", 3, False): 4, Pass("move", "fp32", 3, True): 8}


def test_an_update_in_8_bits_is_counted_as_what_it_does_within():
    """It quantises both moments and holds five fp32 copies, none of which is among what it is given."""
    import_bitsandbytes()  # as the check of a study has: what a library makes when it is imported must have numbers
    mode = FakeTensorMode()
    with mode:
        weight = nn.Parameter(torch.empty(512, 512))
        weight.grad = torch.empty(512, 512)
    live = Live(mode, on_cpu=True)
    with mode, live:
        make_optimizer([weight], Optimizer(), kind="adamw8bit").step()
    (effort,) = live.effort.efforts().values()
    assert sum(size for each, size in effort.passes if each.function == "quantise") == int(13.5 * 512 * 512)
    assert max(event.num_bytes for event in live.events) == 5 * 4 * 512 * 512
    assert -max(event.num_bytes for event in live.events) in [event.num_bytes for event in live.events]


def test_asking_a_tensor_what_device_it_is_on_is_no_operation():
    mode = FakeTensorMode()
    with mode:
        x = torch.empty(8)
    live = Live(mode, on_cpu=True)
    with mode, live:
        assert x.device == torch.device("cpu")
        x * 2
    (effort,) = live.effort.efforts().values()
    assert effort.operations == 1
    assert sum(size for _, size in effort.passes) == 2 * 8 * 4


def test_a_block_is_as_many_operations_as_its_calls_are_timed_by():
    mode, found = FakeTensorMode(), []
    for count in (20, 21):
        with mode:
            blocks = [nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU()) for _ in range(count)]
            model, x = nn.Sequential(*blocks), torch.ones(2, 8)
        live = Live(mode, on_cpu=True)
        with mode, live:
            model(x).sum().backward()
        found.append(sum(effort.operations for effort in live.effort.efforts().values()))
    assert found[1] - found[0] == measured_passes.OPERATIONS


def test_calls_are_timed_by_operations_that_a_trace_counts():
    mode = FakeTensorMode()
    with mode:
        x = torch.ones(2, 4, 4)
    live = Live(mode, on_cpu=True)
    with mode, live, torch.no_grad():
        measured_passes.mixed(x)
    assert sum(effort.operations for effort in live.effort.efforts().values()) == measured_passes.MIXED
