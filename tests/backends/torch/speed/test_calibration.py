"""A machine is measured once, as runs compute; a file that is not whole, or of another machine, is measured anew."""

import json
import time

import pytest
import torch

from tunelab.backends.torch.speed import kept, measured, measured_passes
from tunelab.backends.torch.speed.calibration import Calibration, Machine, PassRate, ProductRate
from tunelab.backends.torch.speed.kept import calibration, known
from tunelab.computation.effort import Shape

MACHINE = Machine(host="h", processor="p", device="cpu", torch="2", threads=1)
PASSES = tuple(
    PassRate(function=function, dtype=dtype, num_bytes=size, bytes_per_second=rate)
    for function, dtype, size, rate in [
        ("move", "fp32", 2**16, 4e10), ("move", "fp32", 2**26, 1e10),
        ("gelu", "fp32", 2**21, 5e9), ("gelu", "bf16", 2**21, 2e9)
    ]
)  # fmt: skip
SHAPES = (Shape(64, 64, 64), Shape(128, 128, 128))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNELAB_CACHE", str(tmp_path))
    return tmp_path / "speed"


@pytest.fixture
def asked(monkeypatch) -> list:
    """What was measured, each at 1 GFLOP/s a row."""
    wanted = []

    def products(lacking, *, threads, seconds):
        wanted.append(list(lacking))
        found = [ProductRate(shape=shape, dtype=dtype, flops_per_second=1e9 * shape.rows) for shape, dtype in lacking]
        return measured.Sampled(tuple(found), 1.0)

    monkeypatch.setattr(measured, "products", products)
    monkeypatch.setattr(measured, "copied_bytes_per_second", lambda *, threads: 2e10)
    monkeypatch.setattr(measured_passes, "passes", lambda *, threads: PASSES)
    monkeypatch.setattr(
        measured_passes, "calls", lambda *, threads: {"operation_seconds": 1e-6, "module_seconds": 1e-5}
    )
    monkeypatch.setattr(measured, "own_dtypes", lambda: ("fp32",))
    return wanted


def made(*points: tuple[Shape, float], dtype="fp32") -> Calibration:
    products = tuple(ProductRate(shape=shape, dtype=dtype, flops_per_second=rate) for shape, rate in points)
    return Calibration(
        format=kept.FORMAT, machine=MACHINE, products=products, passes=PASSES, bytes_per_second=1e10, slower=1.0,
        operation_seconds=1e-6, module_seconds=1e-5, when="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


# ------------------------------------------------------------------ the rate of a shape


def test_a_measured_shape_has_its_own_rate_and_one_between_two_is_between_them():
    found = made((Shape(256, 256, 256), 1e11), (Shape(1024, 1024, 1024), 4e11))
    assert found.rate(Shape(256, 256, 256), "fp32") == 1e11
    assert found.rate(Shape(512, 512, 512), "fp32") == pytest.approx(2e11)
    rates = [found.rate(Shape(side, side, side), "fp32") for side in (256, 300, 400, 600, 900, 1024)]
    assert rates == sorted(rates)


def test_beyond_what_was_measured_a_rate_is_within_it():
    found = made((Shape(256, 256, 256), 1e11), (Shape(1024, 1024, 1024), 4e11))
    for shape in (Shape(1, 1, 1), Shape(65536, 65536, 65536), Shape(1, 65536, 8)):
        assert 1e11 <= found.rate(shape, "fp32") <= 4e11
    assert found.rate(Shape(8192, 8192, 8192), "fp32") > found.rate(Shape(16, 16, 16), "fp32")


def test_a_type_that_was_not_measured_has_no_rate():
    with pytest.raises(AssertionError, match="bf16 was not measured"):
        made((Shape(256, 256, 256), 1e11)).rate(Shape(256, 256, 256), "bf16")


def test_floating_point_operations_are_two_a_multiplication():
    assert Shape(2, 3, 5).flops == 60


def test_numbers_that_are_gone_through_are_bound_by_memory_or_by_arithmetic():
    found = made((Shape(256, 256, 256), 1e11))
    assert found.pass_rate("move", "bf16", 2**16) == 4e10
    assert 1e10 < found.pass_rate("move", "fp32", 2**21) < 4e10
    assert [found.pass_rate("gelu", dtype, 2**16) for dtype in ("fp32", "bf16", "fp16")] == [5e9, 2e9, 5e9]
    assert found.pass_rate("silu", "fp32", 2**26) == 1e10


# ------------------------------------------------------------------ what is kept


def test_what_was_measured_is_kept_and_only_what_lacks_is_measured(folder, asked):
    first = calibration(threads=1, shapes=SHAPES[:1])
    assert (first.bandwidth, first.dtypes) == (2e10, ("fp32",))
    assert calibration(threads=1, shapes=SHAPES[:1]) == first
    both = calibration(threads=1, shapes=SHAPES)
    assert calibration(threads=1, shapes=SHAPES[:1]) == both
    assert asked == [[(SHAPES[0], "fp32")], [(SHAPES[1], "fp32")]]
    assert both.rate(SHAPES[1], "fp32") == 128e9
    calibration(threads=1, shapes=SHAPES, anew=True)
    assert asked[-1] == [(SHAPES[0], "fp32"), (SHAPES[1], "fp32")]
    assert [file.suffix for file in folder.iterdir()] == [".json"]


def test_another_number_of_threads_machine_or_torch_is_measured_apart(folder, asked, monkeypatch):
    calibration(threads=1, shapes=SHAPES)
    calibration(threads=2, shapes=SHAPES)
    monkeypatch.setattr(kept.platform, "node", lambda: "elsewhere")
    calibration(threads=2, shapes=SHAPES)
    monkeypatch.setattr(kept.metadata, "version", lambda name: "9.9")
    calibration(threads=2, shapes=SHAPES)
    assert len(asked) == 4 and len(list(folder.iterdir())) == 4


def test_what_a_busy_machine_gave_is_used_by_this_process_and_not_kept(folder, asked, monkeypatch):
    quiet = measured.products
    monkeypatch.setattr(measured, "products", lambda *given, **more: quiet(*given, **more)._replace(slower=kept.BUSY))
    busy = calibration(threads=1, shapes=SHAPES)
    assert calibration(threads=1, shapes=SHAPES) == busy and len(asked) == 1
    assert known(threads=1) is None and not folder.exists()
    monkeypatch.setattr(kept, "_not_kept", {})
    monkeypatch.setattr(measured, "products", quiet)
    assert known(threads=1) is None
    assert calibration(threads=1, shapes=SHAPES) == known(threads=1) and len(asked) == 2


def broken(text: str) -> list[str]:
    facts = json.loads(text)
    without = {key: value for key, value in facts.items() if key != "bytes_per_second"}
    changes = [
        {"format": 0},
        {"machine": MACHINE.model_dump()},
        {"bytes_per_second": 0.0},
        {"unknown": 1},
        {"products": [3]},
    ]
    return ["", text[: len(text) // 2], "[]", "\0" * 9, json.dumps(without)] + [
        json.dumps({**facts, **change}) for change in changes
    ]


def test_a_damaged_or_older_file_is_measured_anew(folder, asked):
    whole = calibration(threads=1, shapes=SHAPES)
    (file,) = folder.iterdir()
    text = file.read_text()
    for number, damaged in enumerate(broken(text), start=2):
        file.write_text(damaged)
        again = calibration(threads=1, shapes=SHAPES)
        assert again.products == whole.products and len(asked) == number, damaged[:60]
        assert json.loads(file.read_text())["products"] == json.loads(text)["products"]


def test_a_cache_that_cannot_be_written_is_no_error(folder, asked):
    folder.write_text("a file in its place")
    assert calibration(threads=1, shapes=SHAPES).bandwidth == 2e10


# ------------------------------------------------------------------ what is measured


def test_products_and_copies_are_measured_and_leave_torch_as_it_was():
    before = torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.random.get_rng_state()
    found = measured.products([(Shape(64, 64, 64), "fp32"), (Shape(64, 64, 64), "bf16")], threads=1, seconds=0.0)
    assert [each.dtype for each in found.products] == ["fp32", "bf16"] and found.slower >= 1.0
    assert all(1e6 < each.flops_per_second < 1e14 for each in found.products)
    assert measured.copied_bytes_per_second(threads=1) > 1e7
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before[:2]
    assert torch.random.get_rng_state().equal(before[2])


def test_waiting_for_the_processor_is_no_time_of_a_product_and_is_told():
    """As on a machine with other work: the clock goes on while nothing is computed."""
    sample = measured.sample(lambda: time.sleep(0.02), 1, torch.device("cpu"))
    assert sample.clock >= 0.02 and sample.seconds < sample.clock / 2


def test_a_file_of_this_machine_is_written_and_read(folder, monkeypatch):
    monkeypatch.setattr(measured, "COPIED_BYTES", 2**20)
    first = calibration(threads=1, shapes=SHAPES, dtypes=("fp32",))
    machine = first.machine
    assert (machine.device, machine.torch, machine.threads) == ("cpu", kept.metadata.version("torch"), 1)
    assert calibration(threads=1, shapes=SHAPES, dtypes=("fp32",)) == first
