"""Memory that runs out or gradients that overflow on one rank, weights in bf16: all ranks do the same about it."""

from functools import partial
from typing import Any

import pytest

from ranked_harness import measure, over_ranks
from troubled_ranks import OVERFLOWS, OverflowingLora, ShortGalore, ShortLora
from tunelab.methods.full import Full
from tunelab.methods.galore import Galore
from tunelab.methods.lora import Lora

pytestmark = pytest.mark.slow

BATCH = {"examples": 24, "max_tokens": 400}
LORA = {"rank": 4, "learning_rate": 1e-2}
GALORE = {"rank": 8, "projector": "svd", "learning_rate": 1e-2}
CASES: dict[str, Any] = {
    "lora": partial(measure, ShortLora(**LORA), "llama", batch=BATCH, budget={"steps": 6}),
    "galore": partial(measure, ShortGalore(**GALORE), "llama", batch=BATCH, budget={"steps": 6}),
    "fp16": partial(measure, Lora(**LORA), "llama", precision="fp16"),
    "bf16 weights": partial(measure, Full(learning_rate=1e-2), "llama", precision="bf16", weights="bf16"),
    "fp16 cut": partial(measure, Lora(**LORA), "llama", precision="fp16", shard=True),
    "overflow": partial(measure, OverflowingLora(**LORA), "llama", precision="fp16"),
}
ALONE: dict[str, Any] = {
    "lora": partial(measure, Lora(**LORA), "llama", batch=BATCH, budget={"steps": 6}),
    "galore": partial(measure, Galore(**GALORE), "llama", batch=BATCH, budget={"steps": 6}),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict[str, Any]]:
    return over_ranks(CASES, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", ALONE)
def test_where_memory_runs_out_on_one_rank_all_begin_the_step_again(name, found):
    single = ALONE[name]()
    assert single["most_tokens"] is None and 30 < found[0][name]["most_tokens"] <= 100
    assert found[0][name]["losses"] == pytest.approx(single["losses"], abs=1e-5 if name == "lora" else 1e-4)
    gradient = found[0][name]["gradient"]
    off = sum(float((gradient[key] - value).norm()) ** 2 for key, value in single["gradient"].items())
    assert off**0.5 <= 1e-5 * sum(float(value.norm()) ** 2 for value in single["gradient"].values()) ** 0.5


@pytest.mark.parametrize("name", [name for name in CASES if name != "fp16 cut"])
def test_ranks_hold_the_same_weights_to_the_last_bit(name, found):
    one, other = (rank[name]["weights"] for rank in found)
    assert one.keys() == other.keys()
    assert all(value.equal(other[key]) for key, value in one.items())


def test_a_gradient_that_overflows_on_one_rank_skips_the_step_on_all(found):
    plain, skipping = found[0]["fp16"]["losses"], found[0]["overflow"]["losses"]
    assert skipping[: OVERFLOWS - 1] != plain[: OVERFLOWS - 1] and skipping[0] == plain[0]
    assert skipping[-1] < skipping[0]


def test_weights_in_bf16_are_rounded_alike_on_all_ranks_and_learn_as_on_one(found):
    single, ranked = CASES["bf16 weights"]()["losses"], found[0]["bf16 weights"]["losses"]
    assert ranked == pytest.approx(single, rel=0.02) and ranked[-1] < 0.9 * ranked[0]


def test_fp16_learns_the_same_where_weights_are_cut_over_the_ranks(found):
    single, whole, cut = (each["losses"] for each in (CASES["fp16"](), found[0]["fp16"], found[0]["fp16 cut"]))
    assert whole == pytest.approx(single, rel=0.02) and cut == pytest.approx(single, rel=0.02)
