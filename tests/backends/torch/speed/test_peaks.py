"""Published peaks are found by the names that people write, and an unknown one is a line with the nearest."""

import pytest

from tunelab.backends.torch.speed.peaks import PEAKS, peak
from tunelab.errors import ConfigError


@pytest.mark.parametrize("name", ["rtx4090", "RTX 4090", "rtx-4090", "RTX_4090"])
def test_case_and_blanks_do_not_count(name):
    assert peak(name) is PEAKS["rtx4090"]


def test_an_unknown_device_is_one_line_with_the_nearest_name():
    with pytest.raises(ConfigError) as error:
        peak("h1000")
    said = str(error.value)
    assert "'h1000'" in said and "Did you mean 'h100'?" in said and said.endswith("rtx4090, rtx3090")
    assert "\n" not in said


@pytest.mark.parametrize("name", PEAKS)
def test_units_are_flops_bytes_and_gib_and_narrow_products_are_the_fastest(name):
    found = peak(name)
    assert 60e12 <= found.half_flops < 1000e12, "dense, without sparsity"
    assert 8e12 <= found.fp32_flops <= (found.tf32_flops or found.half_flops) <= found.half_flops
    assert 300e9 <= found.bytes_per_second <= 4800e9
    assert 16 <= found.memory_gib <= 141


def test_what_has_no_bf16_is_older_than_ampere_and_has_no_tf32():
    assert {name for name, each in PEAKS.items() if not each.has_bf16} == {"t4", "v100"}
    assert {name for name, each in PEAKS.items() if each.tf32_flops is None} == {"t4", "v100"}
