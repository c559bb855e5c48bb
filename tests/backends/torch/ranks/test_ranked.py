"""A run over two processes equals the same run in one: gradients, losses, evaluation, texts."""

from functools import partial
from typing import Any

import pytest
import torch

from ranked_harness import measure, over_ranks
from tunelab import catalogue
from tunelab.methods.apollo import Apollo
from tunelab.methods.dora import Dora
from tunelab.methods.full import Full
from tunelab.methods.galore import Galore
from tunelab.methods.lora import Lora
from tunelab.methods.qlora import Qlora
from tunelab.methods.rosa import Rosa

pytestmark = pytest.mark.slow

ADAPTERS = {
    "lora": (Lora(rank=4, learning_rate=1e-2), "llama"),
    "lora-t5": (Lora(rank=4, learning_rate=1e-2), "t5"),
    "lora-gpt2": (Lora(rank=4, learning_rate=2e-3, b_rate=2.0), "gpt2"),
    "lora-parts": (Lora(rank=4, learning_rate=1e-2, targets=("c_attn.q", "c_attn.v")), "gpt2"),
    "qlora": (Qlora(rank=4, learning_rate=3e-3), "llama"),
    "rosa": (Rosa(rank=4, density=0.05, learning_rate=3e-3, warmup_steps=2), "llama"),
    "rosa-nf4": (Rosa(rank=4, density=0.05, learning_rate=3e-3, base="nf4"), "llama"),
    "dora": (Dora(rank=4, learning_rate=1e-2), "llama"),
}
WHOLE = {
    "full": (Full(learning_rate=1e-2), "llama"),
    "full-gpt2": (Full(learning_rate=3e-3), "gpt2"),
    "full-moe": (Full(learning_rate=1e-2), "moe"),
    # One basis: found again on models this small it turns by rounding, in one process cut otherwise just as much.
    "galore": (Galore(rank=8, projector="svd", learning_rate=1e-2), "llama"),
    "galore-random": (Galore(rank=8, projector="random", update_gap=3, learning_rate=1e-2), "llama"),
    "apollo": (Apollo(rank=8, update_gap=7, learning_rate=1e-2), "llama"),
}
ALL = ADAPTERS | WHOLE
CASES: dict[str, Any] = {name: partial(measure, *case) for name, case in ALL.items()}


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict[str, Any]]:
    return over_ranks(CASES, tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module", params=ALL)
def pair(request, found) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Two ranks, one process."""
    return request.param, found[0][request.param], CASES[request.param]()


def test_the_first_steps_gradient_and_twenty_losses_are_those_of_one_process(pair):
    name, ranked, single = pair
    assert ranked["gradient"].keys() == single["gradient"].keys()
    off = torch.stack([(ranked["gradient"][key] - value).norm() for key, value in single["gradient"].items()]).norm()
    norm = torch.stack([value.norm() for value in single["gradient"].values()]).norm()
    assert norm > 0 and off <= 1e-6 * norm
    assert len(single["losses"]) == 20 and single["losses"][-1] < single["losses"][0]
    assert ranked["losses"] == pytest.approx(single["losses"], abs=5e-5 if name in ADAPTERS else 1e-4)
    sums = [loss for loss, _ in single["scored"]["losses"]]
    assert [loss for loss, _ in ranked["scored"]["losses"]] == pytest.approx(sums, rel=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_losses_and_texts_of_a_model_are_the_same_when_ranks_share_the_work(name, found):
    spread, alone = found[0][name]["scored"], found[0][name]["scored alone"]
    for one, other in zip(spread["losses"], alone["losses"], strict=True):
        assert one == pytest.approx(other, rel=1e-6)
    assert spread["texts"] == alone["texts"] == spread["told"] and all(spread["texts"])
    assert spread["drawn"] == alone["drawn"] != spread["texts"]


@pytest.mark.parametrize("name", ALL)
def test_ranks_hold_the_same_weights_to_the_last_bit(name, found):
    one, other = (rank[name]["weights"] for rank in found)
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert value.equal(other[key]), key


def test_every_method_that_says_so_is_proven_here():
    said = {name for name in catalogue.names("methods") if catalogue.load("methods", name).parallel}
    assert said == {type(method).__name__.lower() for method, _ in ALL.values()}


def test_the_notes_say_on_how_many_devices(found):
    assert all("trained on 2 devices" in rank["notes"] for rank in found[0].values())
