"""Seconds of an effort, by hand."""

import itertools

import pytest

from tunelab.backends.torch.speed.calibration import MOST_FLOPS, measurable
from tunelab.backends.torch.speed.duration import MOST_MEASURED, seconds, wanted_shapes
from tunelab.backends.torch.speed.peaks import Estimate, peak
from tunelab.computation.effort import Effort, Pass, Product, Shape


class Plain:
    """100 floating-point operations and 10 bytes a second."""

    operation_seconds, module_seconds, overlaps = 0.5, 2.0, False

    def product_seconds(self, shape, dtype):
        return shape.flops / 100

    def pass_rate(self, function, dtype, num_bytes):
        return 10.0


class Overlapping(Plain):
    overlaps = True


EFFORT = Effort(
    ((Product("fp32", Shape(10, 10, 10)), 3),),
    ((Pass("move", "fp32", 3, False), 100), (Pass("cast", "fp32", 3, True), 50)),
    operations=4,
    modules=1,
)


def test_products_passes_and_calls_are_added():
    took = seconds(EFFORT, Plain())
    assert (took.tokens, took.each, took.calls) == (60 + 10, 5, 4)
    assert took.of() == 79
    assert took.of(share=0.5, times=2) == 2 * (35 + 5 + 4)


def test_calls_that_a_device_does_not_wait_for():
    took = seconds(EFFORT, Overlapping())
    assert took.of() == 75
    assert took.of(share=0) == 5
    assert took._replace(each=0).of(share=0) == 4


def test_a_gpu_is_bound_by_arithmetic_or_by_its_memory():
    h100 = Estimate(peak("h100"))
    large, thin = Shape(4096, 4096, 4096), Shape(1, 4096, 4096)
    assert h100.product_seconds(large, "bf16") == pytest.approx(large.flops / (0.5 * 989.4e12))
    assert h100.product_seconds(thin, "bf16") == pytest.approx(2 * (4096 + 4096**2 + 4096) / (0.7 * 3.35e12))
    assert h100.product_seconds(large, "fp32") > 10 * h100.product_seconds(large, "bf16")
    twice = Shape(4096, 4096, 4096, batch=2)
    assert h100.product_seconds(twice, "bf16") == pytest.approx(2 * h100.product_seconds(large, "bf16"))


def test_what_is_measured_is_small_and_near():
    assert measurable(Shape(187, 384, 1152)) == Shape(192, 384, 1280)
    assert measurable(Shape(1, 7, 16, 3)) == Shape(1, 7, 16, 3)
    for shape in (Shape(4096, 4096, 11008), Shape(1, 4096, 11008), Shape(100_000, 8, 8), Shape(512, 64, 512, 64)):
        small = measurable(shape)
        assert 0.1 * min(MOST_FLOPS, shape.flops) < small.flops <= MOST_FLOPS * 1.01
        assert measurable(small) == small


def test_the_shapes_with_most_to_compute_are_measured():
    sides = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160)
    many = tuple((Product("fp32", Shape(*each)), 1) for each in itertools.product(sides, sides, sides))
    found = wanted_shapes([Effort(many), Effort(((Product("bf16", Shape(512, 512, 512)), 9),))])
    assert found["bf16"] == [measurable(Shape(512, 512, 512))]
    assert len(found["fp32"]) == MOST_MEASURED - 1 and Shape(160, 160, 160) in found["fp32"]
