"""What two processes sum, and what they refuse."""

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn

from tunelab.backends.torch.ranks import peers as meeting
from tunelab.backends.torch.ranks.peers import check_same_model, checksum
from tunelab.config.launch import MEETING
from tunelab.errors import RunError
from tunelab.training import ranks


def parameters(rank: int) -> list[nn.Parameter]:
    """One with a gradient on both ranks, one on rank 1 only, one on none, and one of another kind that is large."""
    made = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(5))]
    made.append(nn.Parameter(torch.zeros(3000, 3000, dtype=torch.float16)))
    made[0].grad = torch.full((3,), 1.0 + rank)
    made[1].grad = torch.full((2, 2), 7.0) if rank == 1 else None
    made[3].grad = torch.full((3000, 3000), 0.5, dtype=torch.float16)
    return made


def one_rank(rank: int, folder: str) -> None:
    import os

    os.environ[MEETING] = f"{folder}/meeting"
    peers = meeting.meet(rank, 2)
    own = parameters(rank)
    ranks.sum_gradients(own)
    found: dict[str, Any] = {"sums": [None if each.grad is None else each.grad.flatten()[:2] for each in own]}
    with ranks.alone():
        ranks.sum_gradients(own)
        found["alone"] = (ranks.num_ranks(), own[0].grad[:1])
    model = nn.Linear(2, 2)
    nn.init.zeros_(model.weight)
    nn.init.constant_(model.bias, 1.0 if rank == 0 else 1.0 + 2.0**-23)
    try:
        check_same_model(peers, model)
    except RunError as error:
        found["refused"] = str(error)
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=one_rank, args=(rank, str(folder))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
def test_a_gradient_that_only_one_rank_has_is_summed_and_one_that_none_has_stays_away(both):
    for found in both:
        values = [None if each is None else each.tolist() for each in found["sums"]]
        assert values == [[3.0, 3.0], [7.0, 7.0], None, [1.0, 1.0]]


@pytest.mark.slow
def test_a_rank_that_works_alone_sums_nothing(both):
    assert [(number, value.tolist()) for number, value in (found["alone"] for found in both)] == [(1, [3.0])] * 2


@pytest.mark.slow
def test_ranks_that_start_from_other_weights_are_refused_on_both(both):
    rule = "the model's files must be the same everywhere"
    wanted = f"ranks start from different weights (rank 1 from others than rank 0); {rule}"
    assert [found["refused"] for found in both] == [wanted] * 2


def test_a_checksum_sees_the_last_bit_of_every_kind_of_value():
    for kind in (torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool):
        one = {"a": torch.ones(2, 3, dtype=kind), "b": torch.ones((), dtype=kind)}
        other = {name: value.clone() for name, value in one.items()}
        assert checksum(one) == checksum(other)
        other["a"][1, 2] = 0
        assert checksum(one) != checksum(other)
