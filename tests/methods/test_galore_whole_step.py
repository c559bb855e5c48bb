"""Bases from the step's whole gradient: the same however a step is cut, for every method that projects."""

import pytest
import torch

import tiny
from training_harness import Records, Stopped, make_session, run_training
from tunelab.data.tokens.batching import micro_batches
from tunelab.errors import Diverged
from tunelab.kernels.projector import overlap
from tunelab.methods.full import Full
from tunelab.methods.galore import Galore
from tunelab.methods.q_galore import QGalore
from tunelab.study.planning.plan import build_method
from tunelab.training.looks import Looks, largest_block
from tunelab.training.projected import Projected
from tunelab.training.step import accumulate, run_order, take_step

RANK = 4
OFTEN = {"rank": RANK, "learning_rate": 1e-2, "update_gap": 5}
GALORE = {"galore": OFTEN}
LORA = {"lora": {"learning_rate": 1e-2}}
METHODS = {
    "subspace": Galore(**OFTEN),
    "svd": Galore(**OFTEN, projector="svd"),
    "both sides": Galore(**OFTEN, side="full"),
    "8-bit moments": Galore(**OFTEN, optimizer="adamw8bit"),
    "others frozen": Galore(**OFTEN, other="freeze"),
    "q_galore": QGalore(**OFTEN),
    "layerwise": build_method("layerwise", {"learning_rate": 1e-2, "parts": [GALORE, LORA]}),
    "two in layers": build_method("layerwise", {"learning_rate": 1e-2, "parts": [GALORE, GALORE]}),
    "sequential": build_method("sequential", {"learning_rate": 1e-2, "parts": [LORA, GALORE]}),
}
WHOLE, CUT = 10**9, 48


def batches_of(rows: list, max_tokens: int) -> list:
    return list(micro_batches(rows, max_tokens=max_tokens))


def targets_of(session) -> dict[str, Projected]:
    shares = getattr(session.updater, "shares", ())
    rules = [share.updater for share in shares] or [session.updater]
    return {name: target for rule in rules for name, target in getattr(rule, "targets", {}).items()}


def bases(session) -> dict[str, torch.Tensor]:
    return {
        f"{name} {side}": basis
        for name, target in targets_of(session).items()
        for side, basis in target.projector.bases.items()
    }


def stepped(method, kind: str, *, max_tokens: int, steps: int = 1, **changes):
    """A session after so many steps on 24 rows each, with what the last one's pass returned."""
    session, done = make_session(method, tiny.model(kind, **changes)), None
    for step in range(steps):
        done = accumulate(session, batches_of(tiny.rows(24, seed=step), max_tokens), key=(0, step))
        if step < steps - 1:
            session.update(learning_rate=1e-3, max_norm=1.0)
    return session, done


@pytest.mark.parametrize("name", [name for name in METHODS if name != "sequential"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_bases_and_projected_gradients_are_those_of_the_uncut_step(name, kind):
    whole, of_whole = stepped(METHODS[name], kind, max_tokens=WHOLE)
    cut, of_cut = stepped(METHODS[name], kind, max_tokens=CUT)
    assert len(batches_of(tiny.rows(24), CUT)) > 4
    assert targets_of(cut)
    for key, basis in bases(whole).items():
        assert overlap(bases(cut)[key], basis) == pytest.approx(overlap(basis, basis), abs=1e-4), key
    assert cut.gradient_norm() == pytest.approx(whole.gradient_norm(), rel=1e-5)
    assert of_cut[1:] == of_whole[1:], "tokens are counted once"
    assert of_cut.loss == pytest.approx(of_whole.loss, rel=1e-6)


def test_from_the_first_micro_batch_they_would_be_others():
    """What a driver gets that gives no looks: the number which the tests above hold against."""
    whole, _ = stepped(METHODS["svd"], "llama", max_tokens=WHOLE)
    session = make_session(METHODS["svd"], tiny.model("llama"))
    for batch in batches_of(tiny.rows(24), CUT):
        session.accumulate(batch, denominator=100, last=False)
    assert min(overlap(bases(session)[key], basis) for key, basis in bases(whole).items()) < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in METHODS if name != "both sides"])
def test_losses_over_three_refreshes_do_not_depend_on_how_steps_are_cut(name):
    """Not with both sides projected: of P^T G Q only the diagonal is more than rounding, which Adam makes large."""
    method = METHODS[name]
    settings = {"batch": {"examples": 24}, "budget": {"steps": 12}}
    whole = run_training(method, tiny.model("llama"), tiny.rows(24), **settings)
    settings["batch"]["max_tokens"] = CUT
    cut = run_training(method, tiny.model("llama"), tiny.rows(24), **settings)
    assert cut.records.losses == pytest.approx(whole.records.losses, abs=1e-3 if name == "q_galore" else 1e-4)
    counts = [[(step.num_tokens, step.num_supervised_tokens) for step in run.records.steps] for run in (whole, cut)]
    assert counts[0] == counts[1]


def test_one_micro_batch_is_not_looked_at():
    session = make_session(METHODS["subspace"], tiny.model("llama"))
    assert not session.wants_look(num_batches=1)
    assert session.wants_look(num_batches=2)
    assert not make_session(Galore(rank=RANK, projector="random"), tiny.model("llama")).wants_look(num_batches=2)
    assert not make_session(Full(), tiny.model("llama")).wants_look(num_batches=2)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_look_sees_the_dropout_of_the_pass_that_counts(checkpointing):
    """GPT-2 with dropout: the basis is that of the exact gradient under the same draws, taken by full fine-tuning."""
    from tunelab.backends.torch.loading import checkpoint_activations

    drops, key = dict(resid_pdrop=0.3, attn_pdrop=0.3, embd_pdrop=0.3), (0, 1)
    batches, sessions = batches_of(tiny.rows(24), CUT), []
    for method in (Full(), METHODS["svd"]):
        sessions.append(make_session(method, tiny.model("gpt2", **drops)))
        if checkpointing:
            checkpoint_activations(sessions[-1].model)
    losses = [accumulate(session, batches, key=key).loss for session in sessions]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    full, ours = sessions
    for name, target in targets_of(ours).items():
        gradient = full.model.get_parameter(name).grad.t()  # GPT-2 holds its matrices as (I, O)
        left, _, right = torch.linalg.svd(gradient, full_matrices=False)
        exact = right[:RANK].t() if target.projector.sides == ("right",) else left[:, :RANK]
        (basis,) = target.projector.bases.values()
        assert overlap(basis, exact) == pytest.approx(1.0, abs=1e-4), name


def test_a_look_leaves_no_gradient_and_nothing_frozen():
    session = make_session(METHODS["layerwise"], tiny.model("llama"))
    trained = [p for p in session.model.parameters() if p.requires_grad]
    rows = batches_of(tiny.rows(24), CUT)
    while session.wants_look(num_batches=len(rows)):
        with session.look():
            for batch in rows:
                session.accumulate(batch, denominator=100, last=False)
    assert [p for p in session.model.parameters() if p.requires_grad] == trained
    assert all(p.grad is None for p in trained)
    assert session.gradient_norm() == 0.0


def test_blocks_that_rest_beside_it_stay_frozen_in_the_pass_that_counts():
    """LISA freezes them when the step begins, which a look is not."""
    parts = [GALORE, {"lisa": {"layers": 1, "period": 1}}]
    session = make_session(build_method("layerwise", {"learning_rate": 1e-2, "parts": parts}), tiny.model("llama"))
    accumulate(session, batches_of(tiny.rows(24), CUT), key=(0, 1))
    resting = [name for name, parameter in session.model.named_parameters() if not parameter.requires_grad]
    assert len(resting) == 5
    assert {name.split(".")[2] for name in resting} in ({"0"}, {"1"})
    session.update(learning_rate=1e-3, max_norm=1.0)
    assert all(parameter.requires_grad for parameter in session.model.parameters())


def test_a_look_that_breaks_off_leaves_the_updater_as_it_was():
    session = make_session(METHODS["q_galore"], tiny.model("llama"))
    first = batches_of(tiny.rows(24), CUT)[0]
    with pytest.raises(KeyboardInterrupt), session.look():
        session.accumulate(first, denominator=100, last=False)
        raise KeyboardInterrupt
    assert session.wants_look(num_batches=2)
    assert not session.updater._looks.sums
    session.accumulate(first, denominator=100, last=True)
    assert all(target.low.stand_in.grad is not None for target in targets_of(session).values())


@pytest.mark.parametrize("projector", ["subspace", "svd"])
def test_whole_gradients_are_held_of_no_more_than_fit(projector):
    """What a step holds anyway (projected gradients, and whole ones of the rest) and one block of six."""
    method = Galore(rank=RANK, projector=projector)
    session = make_session(method, tiny.model("llama", num_hidden_layers=6, vocab_size=96))
    looks, most, add = session.updater._looks, [], session.updater._looks.add

    def counted(name, grad):
        add(name, grad)
        most[-1] = max(most[-1], sum(value.numel() for value in looks.sums.values()))

    looks.add = counted
    rows = batches_of(tiny.rows(24), CUT)
    while session.wants_look(num_batches=len(rows)):
        most.append(0)
        with session.look():
            for batch in rows:
                session.accumulate(batch, denominator=100, last=False)
    block = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 64
    low = 6 * RANK * (2 * 32 + 2 * 32 + 3 * 64)
    others = 96 * 32 + 13 * 32
    assert looks.room == block + low + others
    assert len(most) == 3
    assert max(most) <= looks.room
    assert sum(most) == 6 * block, "each once"


def test_a_matrix_larger_than_the_room_is_looked_at_alone():
    looks = Looks({"a.0.x": 6, "a.0.y": 6, "a.1.x": 20, "head": 5}, held_anyway=2)
    assert looks.room == 22
    assert looks.group(["a.0.x", "a.0.y", "a.1.x"]) == ["a.0.x", "a.0.y"]
    assert looks.group(["a.1.x", "head"]) == ["a.1.x"]
    assert (
        largest_block({"model.layers.0.q.weight": 3, "model.layers.0.k.weight": 4, "model.layers.10.q.weight": 5}) == 7
    )


def test_a_matrix_without_a_gradient_stays_due_and_is_asked_for_once_a_step():
    model = tiny.model("llama")
    model.model.layers[1].register_forward_hook(lambda module, args, output: args[0])  # what it computes is not used
    session = make_session(METHODS["svd"], model)
    rows = batches_of(tiny.rows(24), CUT)
    for step in range(2):
        accumulate(session, rows, key=(0, step))
        idle = [name for name, target in targets_of(session).items() if target.refreshed_at < 0]
        assert idle
        assert all("layers.1." in name for name in idle)
        assert len(idle) == 7
        session.update(learning_rate=1e-3, max_norm=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["subspace", "q_galore", "layerwise"])
@pytest.mark.parametrize("stop", [3, 4])
def test_resumed_around_a_look_equals_not_stopped(name, stop, tmp_path):
    method = {
        "subspace": Galore(rank=8, update_gap=4, learning_rate=1e-2, moments="rotate"),
        "q_galore": QGalore(rank=8, update_gap=4, learning_rate=1e-2),
        "layerwise": build_method(
            "layerwise", {"learning_rate": 1e-2, "parts": [{"galore": {"rank": 8, "update_gap": 4}}, LORA]}
        ),
    }[name]
    settings = {"checkpoint": {"seconds": 0}, "budget": {"steps": 9}, "batch": {"examples": 12, "max_tokens": 64}}
    rows, records = tiny.rows(20), Records()
    whole = run_training(method, tiny.model("llama"), rows, folder=tmp_path / "whole", **settings)
    with pytest.raises(Stopped):
        run_training(
            method, tiny.model("llama"), rows, folder=tmp_path / "cut", records=records, stop_after=stop, **settings
        )
    resumed = run_training(method, tiny.model("llama"), rows, folder=tmp_path / "cut", records=records, **settings)
    assert resumed.records.losses == whole.records.losses
    for (key, value), (_, other) in zip(
        whole.model.state_dict().items(), resumed.model.state_dict().items(), strict=True
    ):
        assert value.equal(other), key


@pytest.mark.parametrize("max_tokens", [WHOLE, CUT])
def test_a_gradient_that_is_not_finite_gives_no_basis_and_ends_the_run(max_tokens):
    session = make_session(METHODS["subspace"], tiny.model("llama"), batch={"examples": 24, "max_tokens": max_tokens})
    rows = tiny.rows(24)
    with torch.no_grad():
        session.model.get_input_embeddings().weight[5] = float("nan")
    with pytest.raises(Diverged, match=r"step 1: loss nan, gradient norm nan .* the run diverged"):
        take_step(session, session.run, run_order(session.run, rows), 1, peak=1e-2)
    assert all(not target.projector.bases and target.due for target in targets_of(session).values())
