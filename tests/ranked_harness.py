"""Trains methods on tiny models over several processes of this machine, all cases one after the other."""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, distributed

import tiny
from training_harness import Stopped, make_session, run_training
from tunelab.backends.torch.ranks import peers as meeting
from tunelab.backends.torch.ranks.ranked import behind
from tunelab.backends.torch.ranks.sharded import ShardedSession, cut_over_ranks
from tunelab.backends.torch.ranks.share import serve
from tunelab.backends.torch.session import TorchSession
from tunelab.config.launch import MEETING
from tunelab.contracts import Method
from tunelab.training.optim import trained_parameters
from tunelab.training.ranks import is_cut, whole

ROWS, PROMPTS = 25, 9
BATCH = {"examples": 6, "max_tokens": 64}
"""Several micro-batches a step; the last step of an epoch has one row, so that a rank has none."""


def measure(
    method: Method,
    model: str,
    *,
    over: Callable[[TorchSession], Any] = lambda local: local,
    shard: bool = False,
    folder: Path | None = None,
    **changes,
) -> Any:
    """What a run leaves: losses, the first step's gradient, weights, evaluation, texts. `shard`: cut over the ranks;
    `folder`: for checkpoints, where it goes on from the last."""
    torch.set_num_threads(1)
    gradient: dict[str, Tensor] = {}

    def watched(local: TorchSession) -> Any:
        update = local.update

        def first(**settings: Any) -> None:
            gradient.update({} if gradient else gradients_of(local))
            update(**settings)

        local.update = first
        return over(local)

    rows = tiny.rows(ROWS, pairs=model == "t5")
    given = {"batch": BATCH, **changes}
    make = partial(sharded_session, name=model) if shard and is_ranked() else make_session
    try:
        trained = run_training(method, tiny.model(model), rows, over=watched, make=make, folder=folder, **given)
    except Stopped:
        return {}
    return {
        "losses": trained.records.losses,
        "gradient": gradient,
        "weights": weights_of(trained.model),
        "scored": scored(trained.session, model),
        "scored alone": None if shard else scored(getattr(trained.session, "local", trained.session), model),
        "written": written(trained.session),
        "notes": trained.session.notes,
        "most_tokens": trained.session.most_tokens,
    }


def is_ranked() -> bool:
    return distributed.is_initialized()


def sharded_session(method: Method, model: Any, *, name: str, **changes: Any) -> ShardedSession:
    """As backends/torch/loading.py makes it."""
    session = make_session(method, model, **changes)
    session.updater = None
    cut_over_ranks(session.model, distributed.get_world_size())

    def load() -> Any:
        return make_session(method, tiny.model(name), **changes).model

    return ShardedSession(session.model, method, session.run, session.tokenizer, [], load=load)


def weights_of(model: Any) -> dict[str, Tensor]:
    """This rank's own part of each, where they are cut."""
    trained = trained_parameters(model).items()
    return {name: (value.to_local() if is_cut(value) else value).detach().clone() for name, value in trained}


def written(session: Any) -> dict[str, Tensor]:
    """What it writes as its result."""
    with tempfile.TemporaryDirectory() as folder:
        session.write_model(Path(folder))
        return {
            key: value for file in sorted(Path(folder).rglob("*.safetensors")) for key, value in load_file(file).items()
        }


def scored(session: Any, model: str) -> dict[str, Any]:
    """Losses and texts of this session's model; on rank 0 by its own session alone the same without the others."""
    held_out = tiny.rows(17, seed=5, pairs=model == "t5")
    prompts = [row.ids[:8] for row in tiny.rows(PROMPTS, seed=6)]
    greedy = tiny.run_config().generation.model_copy(update={"max_new_tokens": 12, "min_new_tokens": 5})
    decoded: dict[int, list[int]] = {}
    return {
        "losses": [tuple(loss) for loss in session.evaluate(batches_of(held_out))],
        "texts": session.generate(prompts, greedy, progress=lambda new: decoded.update(new.texts)),
        "told": [decoded[place] for place in range(PROMPTS)],
        "drawn": session.generate(prompts, greedy.model_copy(update={"temperature": 1.0}), progress=lambda new: None),
    }


def batches_of(rows: Sequence[Any]) -> Any:
    from tunelab.data.tokens.batching import micro_batches

    return micro_batches(rows, max_tokens=64)


def gradients_of(local: TorchSession) -> dict[str, Tensor]:
    """Of the parameters; projected ones back in full size, where rounding that turns a basis does not show."""
    found = {name: value.grad for name, value in trained_parameters(local.model).items()}
    found = {name: None if value is None else whole(value) for name, value in found.items()}
    for name, target in getattr(local.updater, "targets", {}).items():
        found[name] = torch.zeros(target.matrix.shape)
        target.projector.add_back(found[name], target.low.stand_in.grad, scale=1.0)
    return {name: value.detach().clone() for name, value in found.items() if value is not None}


def over_ranks(cases: dict[str, Callable[..., Any]], folder: Path, *, count: int = 2) -> list[dict[str, Any]]:
    """Each case is `measure` with everything but `over` bound. What each rank found: rank 0 all of it, the others their
    weights."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_rank, args=(rank, count, cases, str(folder))) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(400)
    assert [process.exitcode for process in processes] == [0] * count
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(count)]


def _rank(rank: int, count: int, cases: dict[str, Callable[..., Any]], folder: str) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank), MEETING: f"{folder}/meeting"}
    torch.set_num_threads(1)
    peers = meeting.meet(rank, count)
    found = {}
    for name, case in cases.items():
        found[name] = case(over=lambda local: behind(local, peers)) if rank == 0 else _serve(case, peers)
        if rank == 0:
            peers.tell(meeting.END)
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


def _serve(case: Any, peers: meeting.Peers) -> dict[str, Any]:
    method, model = case.args
    changes = {"batch": BATCH, **case.keywords}
    changes = {key: value for key, value in changes.items() if key not in ("folder", "shard", "stop_after")}
    make = partial(sharded_session, name=model) if case.keywords.get("shard") else make_session
    local = make(method, tiny.model(model), **changes)
    peers.answers(None)
    if case.keywords.get("shard"):
        gradient = local.update

        def watched(**settings: Any) -> None:
            if local.update is watched:  # rank 0 reads the first step's gradient, which takes every rank
                gradients_of(local)
            local.update = gradient
            gradient(**settings)

        local.update = watched
    serve(local, peers)
    return {"weights": weights_of(local.model)}
