"""Two processes that share a step: the collective moves projected gradients, and bases are the whole step's."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

import tiny
from training_harness import make_session
from tunelab.data.tokens.batching import micro_batches
from tunelab.kernels.projector import Projector
from tunelab.methods.galore import Galore
from tunelab.records import Batch

pytestmark = pytest.mark.slow

METHODS = {
    "refreshed": Galore(rank=4, projector="svd", update_gap=2, learning_rate=1e-2),
    "fixed": Galore(rank=4, projector="random", update_gap=200, learning_rate=1e-2),
}
STEPS, EXAMPLES = 3, 12


def train(method: Galore, *, parts: list[slice]) -> dict[str, Any]:
    """Weights after three steps of which this process does these parts of the examples, and the gradient norms."""
    torch.set_num_threads(1)
    session = make_session(method, tiny.model("llama"))
    norms = []
    for step in range(STEPS):
        rows = tiny.rows(EXAMPLES, seed=step)
        batches = [batch for part in parts for batch in micro_batches(rows[part], max_tokens=10**9)]
        while session.wants_look(num_batches=len(batches)):
            with session.look():
                add_up(session, batches)
        add_up(session, batches)
        norms.append(session.gradient_norm())
        session.update(learning_rate=1e-2, max_norm=0.5)
    return {"weights": {name: value.detach() for name, value in session.model.named_parameters()}, "norms": norms}


def add_up(session, batches: list[Batch]) -> None:
    for batch in batches:
        session.accumulate(batch, denominator=60, last=batch is batches[-1])


HALVES = [slice(EXAMPLES // 2), slice(EXAMPLES // 2, EXAMPLES)]


def one_rank(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    moved, reduce = [], distributed.all_reduce
    distributed.all_reduce = lambda tensor: (moved.append(tensor.nbytes), reduce(tensor))
    found = {}
    for name, method in METHODS.items():
        moved.clear()
        found[name] = train(method, parts=[HALVES[rank]]) | {"moved": sum(moved)}
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("ranks")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=one_rank, args=(rank, str(folder))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", METHODS)
def test_ranks_hold_the_same_weights_and_norms(name, both):
    one, other = (rank[name] for rank in both)
    for key, value in one["weights"].items():
        assert value.equal(other["weights"][key]), key
    assert one["norms"] == other["norms"]


@pytest.mark.parametrize("parts", [HALVES, [slice(EXAMPLES)]])
def test_two_ranks_equal_one_process_with_all_examples(parts, both):
    """Bases are found from the gradient of both ranks' examples, as in one process in one piece or in two."""
    wanted, found = train(METHODS["refreshed"], parts=parts), both[0]["refreshed"]
    assert found["norms"] == pytest.approx(wanted["norms"], rel=1e-5)
    for name, value in wanted["weights"].items():
        torch.testing.assert_close(found["weights"][name], value, atol=2e-6, rtol=0)


def test_with_a_fixed_basis_two_ranks_with_half_the_examples_equal_one_with_all(both):
    wanted, found = train(METHODS["fixed"], parts=[slice(EXAMPLES)]), both[0]["fixed"]
    assert found["norms"] == pytest.approx(wanted["norms"], rel=1e-6)
    for name, value in wanted["weights"].items():
        torch.testing.assert_close(found["weights"][name], value, atol=1e-6, rtol=0)
    half = train(METHODS["fixed"], parts=HALVES[:1])["weights"]
    assert max(float((half[name] - value).abs().max()) for name, value in wanted["weights"].items()) > 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_the_collective_moves_low_rank_gradients(name, both):
    """In bytes: R * max(O, I) numbers of a matrix in place of O * I, fp32; O * I too in the two steps of three in which
    its basis is found."""
    model = METHODS[name].attach(tiny.model("llama"), seed=0)
    shapes = {key: tuple(value.shape) for key, value in model.named_parameters()}
    low = sum(
        torch.Size(Projector(shape, rank=4, kind="svd", side="std", name=key, seed=0).low_shape).numel()
        if "proj" in key
        else torch.Size(shape).numel()
        for key, shape in shapes.items()
    )
    found_from = sum(torch.Size(shape).numel() for key, shape in shapes.items() if "proj" in key)
    refreshes = {"refreshed": 2, "fixed": 0}[name]
    assert both[0][name]["moved"] == 4 * (STEPS * low + refreshes * found_from)
    assert low < 0.5 * sum(torch.Size(shape).numel() for shape in shapes.values())
