"""Two processes that share a step: the collective moves projected gradients, and the bases are rank 0's."""

import multiprocessing
from pathlib import Path

import pytest
import torch
from torch import distributed

import tiny
from training_harness import make_session
from tunelab.data.batching import micro_batches
from tunelab.kernels.projector import Projector
from tunelab.methods.galore import Galore

METHOD = Galore(rank=4, projector="svd", update_gap=2, learning_rate=1e-2)
STEPS = 3


def train(*, ranks: tuple[int, ...]) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Weights after three steps of which this process does the parts in `ranks`, and the gradient norms."""
    torch.set_num_threads(1)
    session = make_session(METHOD, tiny.model("llama"))
    norms = []
    for step in range(STEPS):
        for rank in ranks:
            (batch,) = micro_batches(tiny.rows(6, seed=2 * step + rank), max_tokens=10**9)
            session.accumulate(batch, denominator=60, last=rank == ranks[-1])
        norms.append(session.gradient_norm())
        session.update(learning_rate=1e-2, max_norm=0.5)
    return {name: value.detach() for name, value in session.model.named_parameters()}, norms


def one_rank(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    moved, reduce = [], distributed.all_reduce
    distributed.all_reduce = lambda tensor: (moved.append(tensor.numel()), reduce(tensor))
    weights, norms = train(ranks=(rank,))
    torch.save({"weights": weights, "norms": norms, "moved": sum(moved)}, f"{folder}/{rank}.pt")
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


def test_ranks_hold_the_same_weights_and_norms(both):
    for name, value in both[0]["weights"].items():
        assert value.equal(both[1]["weights"][name]), name
    assert both[0]["norms"] == both[1]["norms"]


def test_two_ranks_equal_one_process_with_their_micro_batches(both):
    """Rank 0's gradient decides the basis, as that of the first micro-batch does in one process."""
    weights, norms = train(ranks=(0, 1))
    assert both[0]["norms"] == pytest.approx(norms, rel=1e-5)
    for name, value in weights.items():
        torch.testing.assert_close(both[0]["weights"][name], value, atol=2e-6, rtol=0)


def test_the_collective_moves_low_rank_gradients(both):
    model = METHOD.attach(tiny.model("llama"), seed=0)
    shapes = {name: tuple(value.shape) for name, value in model.named_parameters()}
    low = sum(
        torch.Size(Projector(shape, rank=4, kind="svd", side="std", name=name, seed=0).low_shape).numel()
        if "proj" in name
        else torch.Size(shape).numel()
        for name, shape in shapes.items()
    )
    assert both[0]["moved"] == STEPS * low
    assert low < 0.5 * sum(torch.Size(shape).numel() for shape in shapes.values())
