"""Weights in bf16: rounding keeps the mean, every whole-weight method trains, resumes, saves and holds no fp32 copy."""

import gc
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import tiny
from training_harness import Records, Stopped, make_session, run_training
from tunelab import catalogue
from tunelab.methods.apollo import Apollo
from tunelab.methods.full import Full
from tunelab.methods.galore import Galore
from tunelab.methods.lisa import Lisa
from tunelab.training.narrow import rounding
from tunelab.training.narrow.rounding import moved, round_into

RATE = 3e-3
METHODS: dict[str, Any] = {
    "full": Full(learning_rate=RATE),
    "full 8 bit": Full(learning_rate=RATE, optimizer="adamw8bit"),
    "adafactor": Full(learning_rate=0.1, optimizer="adafactor"),
    "galore": Galore(rank=8, update_gap=3, learning_rate=4 * RATE),
    "galore 8 bit": Galore(rank=8, update_gap=3, learning_rate=4 * RATE, projector="random", optimizer="adamw8bit"),
    "galore adafactor": Galore(rank=8, projector="random", learning_rate=0.4, optimizer="adafactor"),
    "apollo": Apollo(rank=8, update_gap=3, learning_rate=RATE),
    "lisa": Lisa(layers=1, period=2, learning_rate=RATE),
}
NARROW = {"precision": "bf16", "weights": "bf16"}


def trained(method: Any, kind: str = "llama", *, rows: int = 12, **changes: Any) -> Any:
    return run_training(method, tiny.model(kind), tiny.rows(rows, pairs=kind == "t5"), **{**NARROW, **changes})


# ------------------------------------------------------------------ rounding


def test_rounding_goes_to_a_neighbour_and_keeps_the_mean():
    values = torch.cat([torch.randn(64), torch.tensor([0.0, -0.0, 1.0, -1.0, 1e-30, 3e38, 1 + 2**-9, -1 - 3 * 2**-9])])
    draws = torch.empty(4000, len(values), dtype=torch.bfloat16)
    for number, row in enumerate(draws):
        round_into(row, values.clone(), key=7, number=number)
    below, above = draws.float().amin(0), draws.float().amax(0)
    assert (below <= values).all() and (values <= above).all()
    step = torch.where(values == 0, torch.ones(()), values.abs()) * 2**-7
    assert ((above - below) <= step).all(), "further than the next number"
    exact = values.bfloat16().float() == values
    assert exact.sum() >= 4 and (below[exact] == above[exact]).all(), "a number that bf16 has stays"
    error = (draws.double().mean(0) - values).abs() / step
    assert (error < 4 / 4000**0.5).all(), "the mean is not kept"


def test_draws_depend_on_key_and_number_alone():
    values, found = torch.randn(4096), []
    for key, number in ((1, 1), (1, 1), (1, 2), (2, 1)):
        torch.rand(3)
        found.append(torch.empty(4096, dtype=torch.bfloat16))
        round_into(found[-1], values.clone(), key=key, number=number)
    assert found[0].equal(found[1])
    assert not found[0].equal(found[2]) and not found[0].equal(found[3]) and not found[2].equal(found[3])


def test_a_weight_larger_than_is_drawn_for_at_a_time_and_one_that_lies_across(monkeypatch):
    monkeypatch.setattr(rounding, "AT_ONCE", 7)
    values = torch.randn(6, 5)
    for wide in (values.clone(), values.t().contiguous().t()):
        narrow = torch.empty(6, 5, dtype=torch.bfloat16)
        round_into(narrow, wide, key=1, number=1)
        assert ((narrow.float() - values).abs() <= values.abs() * 2**-7).all() and not narrow.equal(values.bfloat16())


def test_what_is_not_finite_stays():
    wide = torch.tensor([float("inf"), -float("inf"), float("nan"), 1.0])
    narrow = torch.empty(4, dtype=torch.bfloat16)
    round_into(narrow, wide.clone(), key=0, number=0)
    assert narrow.float()[:2].equal(wide[:2]) and narrow[2].isnan() and narrow[3] == 1


def test_many_small_steps_arrive_where_rounding_to_the_nearest_stays():
    """A thousand steps of 1/4096: each is a 32nd of what bf16 tells apart at 1."""
    at_random, nearest = torch.ones(2000, dtype=torch.bfloat16), torch.ones(2000, dtype=torch.bfloat16)
    for number in range(1000):
        with moved(at_random, key=3, number=number) as wide:
            wide.add_(2.0**-12)
        nearest.copy_(nearest.float().add_(2.0**-12))
    assert nearest.float().mean() == 1.0
    assert at_random.float().mean() == pytest.approx(1 + 1000 * 2.0**-12, abs=2e-3)
    with moved(wide := torch.ones(3), key=3, number=0) as itself:
        assert itself is wide, "fp32 is changed in place"


# ------------------------------------------------------------------ methods


@pytest.mark.parametrize("kind", ["llama", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("gpt2", "t5"))])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_what_it_learns_with_fp32_weights(name, kind):
    narrow, wide = (trained(METHODS[name], kind, budget={"steps": 30}, weights=weights) for weights in ("bf16", "fp32"))
    ends = [sum(run.records.losses[-4:]) / sum(run.records.losses[:4]) for run in (narrow, wide)]
    assert ends[1] < 0.97, ends
    assert ends[0] == pytest.approx(ends[1], abs=0.1)
    for key, value in narrow.model.named_parameters():
        assert value.dtype == (torch.bfloat16 if value.ndim >= 2 else torch.float32), key
    start = dict(make_session(METHODS[name], tiny.model(kind), **NARROW).model.named_parameters())
    moved = [key for key, value in narrow.model.named_parameters() if not value.equal(start[key])]
    assert len(moved) > 0.5 * len(start)


def to_the_nearest(parameter: torch.Tensor, wide: torch.Tensor, **draw: int) -> None:
    parameter.copy_(wide)


@pytest.mark.parametrize("name", ["full", "galore", "apollo", "lisa"])
def test_steps_that_bf16_cannot_tell_apart_are_kept_in_the_mean(name, monkeypatch):
    """How far 40 small steps lead, as a share of how far they lead with fp32 weights, from the same start."""
    method, start = METHODS[name].model_copy(update={"learning_rate": 2e-5}), {}
    for key, value in tiny.model("llama").named_parameters():
        start |= {key: value.detach().bfloat16().float()} if value.ndim >= 2 else {}

    def change(weights: str) -> torch.Tensor:
        model = tiny.model("llama")
        model.load_state_dict(start, strict=False)
        settings = {"precision": "bf16", "weights": weights, "budget": {"steps": 40}}
        done = run_training(method, model, tiny.rows(12), **settings).model
        return torch.cat([(done.get_parameter(key).detach().float() - start[key]).flatten() for key in start])

    wide, at_random = change("fp32"), change("bf16")
    for module in ("rounding", "updates"):
        monkeypatch.setattr(f"tunelab.training.narrow.{module}.round_into", to_the_nearest)
    nearest = change("bf16")
    shares = [float((each @ wide) / (wide @ wide)) for each in (at_random, nearest)]
    assert shares[0] == pytest.approx(1.0, abs=0.15)
    assert shares[1] < 0.7, "little is lost by rounding to the nearest: this test sees nothing"


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 5, 8])
@pytest.mark.parametrize("name", METHODS)
def test_resumed_equals_not_stopped_bit_for_bit(name, stop, tmp_path):
    settings = {"checkpoint": {"seconds": 0}, "budget": {"steps": 10}, "rows": 20}
    whole = trained(METHODS[name], folder=tmp_path / "whole", **settings)
    records = Records()
    with pytest.raises(Stopped):
        trained(METHODS[name], folder=tmp_path / "cut", records=records, stop_after=stop, **settings)
    resumed = trained(METHODS[name], folder=tmp_path / "cut", records=records, **settings)
    assert resumed.records.losses == whole.records.losses
    theirs = whole.model.state_dict()
    for key, value in resumed.model.state_dict().items():
        assert value.equal(theirs[key]) and value.dtype == theirs[key].dtype, key
    ours, theirs = (run.session.updater.state() for run in (resumed, whole))
    assert set(ours) == set(theirs) and all(value.equal(theirs[key]) for key, value in ours.items())


def test_another_seed_rounds_otherwise():
    one, same, other = (trained(METHODS["full"], seed=seed, budget={"steps": 1}) for seed in (0, 0, 1))
    weights = [run.model.get_input_embeddings().weight for run in (one, same, other)]
    assert weights[0].equal(weights[1]) and not weights[0].equal(weights[2])


@pytest.mark.parametrize("name", ["full", "galore", "apollo"])
def test_no_fp32_copy_of_the_weights_outlives_a_step(name):
    gc.collect()
    before = {id(thing) for thing in gc.get_objects() if isinstance(thing, torch.Tensor)}
    session = trained(METHODS[name], budget={"steps": 3}).session
    gc.collect()
    live = [t for t in gc.get_objects() if isinstance(t, torch.Tensor) and id(t) not in before]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in live}
    weights = sum(p.nbytes for p in session.model.parameters())
    matrices = sum(p.numel() for p in session.model.parameters() if p.ndim >= 2)
    state = sum(value.nbytes for value in session.updater.state().values())
    assert weights < 2.2 * matrices
    assert sum(storages.values()) <= weights + state + 16_384, "something else is held"


def test_the_updater_says_how_weights_are_held():
    told = make_session(Full(), tiny.model("llama"), **NARROW).optimizer()
    assert [(entry["group"], entry.get("weights")) for entry in told] == [
        ("matrices", "bf16, rounded at random"), ("vectors", None),
    ]  # fmt: skip
    plain = make_session(Full(), tiny.model("llama"), precision="bf16").optimizer()
    assert [{key: value for key, value in entry.items() if key != "weights"} for entry in told] == plain


@pytest.mark.parametrize("name", ["galore", "apollo", "lisa"])
def test_every_updater_says_how_weights_are_held(name):
    for settings, said in ((NARROW, "bf16, rounded at random"), ({"precision": "bf16"}, None)):
        told = make_session(METHODS[name], tiny.model("llama"), **settings).optimizer()
        assert {entry.get("weights") for entry in told if entry["group"] != "vectors"} == {said}


def test_the_norm_of_narrow_gradients_is_taken_in_fp32():
    session = make_session(Full(), tiny.model("llama"), **NARROW)
    for parameter in session.model.parameters():
        parameter.grad = torch.full_like(parameter, 1.0)
    count = sum(parameter.numel() for parameter in session.model.parameters())
    assert session.gradient_norm() == pytest.approx(count**0.5, rel=1e-5)


# ------------------------------------------------------------------ with fp16, and on disk


def test_fp16_products_train_bf16_weights():
    done = trained(METHODS["galore"], precision="fp16", budget={"steps": 20})
    assert {p.dtype for p in done.model.parameters() if p.ndim >= 2} == {torch.bfloat16}
    assert sum(done.records.losses[-4:]) < 0.97 * sum(done.records.losses[:4])


@pytest.mark.parametrize("name", ["full", "galore"])
def test_what_is_saved_is_what_was_trained(name, tmp_path):
    done = trained(METHODS[name], budget={"steps": 6})
    done.session.write_model(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    for key, value in done.model.named_parameters():
        assert saved[key].equal(value.detach()) and saved[key].dtype == value.dtype, key
    again = make_session(METHODS[name], tiny.model("llama", seed=5), **NARROW)
    again.read_model(tmp_path)
    assert all(value.equal(done.model.state_dict()[key]) for key, value in again.model.state_dict().items())
    ids = torch.arange(2, 20)[None]
    with torch.no_grad():
        trained_logits = done.model.float().eval()(input_ids=ids).logits
        exact = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()(input_ids=ids).logits
        as_it_lies = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto").eval()(input_ids=ids).logits.float()
    assert trained_logits.equal(exact)
    assert (as_it_lies - exact).abs().max() <= 0.05 * exact.abs().max()


def test_methods_that_say_so_are_proven_here():
    said = {name for name in catalogue.names("methods") if catalogue.load("methods", name).narrow_weights}
    assert said == {type(method).__name__.lower() for method in METHODS.values()}
