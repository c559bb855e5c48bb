"""RoSA against LoRA, a dense masked reference, and gradients of plain autograd."""

import gc
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.numpy import load_file
from torch.nn import functional as F

import tiny
from training_harness import Stopped, make_session, run_training
from tunelab.data.tokens.batching import Order
from tunelab.errors import ConfigError, ModelError
from tunelab.kernels.adapted_linear import adapted_layers
from tunelab.kernels.sparse import in_passes
from tunelab.methods import rosa
from tunelab.methods.full import Full
from tunelab.methods.lora import Lora
from tunelab.methods.rosa import Rosa
from tunelab.training.starts import whole_gradients
from tunelab.training.step import run_order

KINDS = ["llama", "gpt2", "t5"]
RATE = 1e-2


def rows_for(kind: str, count: int = 18) -> list:
    return tiny.rows(count, pairs=kind == "t5")


def prepared(method: Rosa, kind: str = "llama", **changes):
    session = make_session(method, tiny.model(kind), **changes)
    method.prepare(session, run_order(session.run, rows_for(kind)), session.run)
    return session


def positions(model) -> dict[str, list[int]]:
    return {name: layer.sparse_index.tolist() for name, layer in adapted_layers(model).items()}


def logits(model, kind: str) -> torch.Tensor:
    ids = torch.arange(2, 14).reshape(2, 6)
    extra = {"decoder_input_ids": ids} if kind == "t5" else {}
    with torch.no_grad():
        return model.eval()(input_ids=ids, **extra).logits


# ------------------------------------------------------------------ what it is equal to


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_without_sparse_part_it_is_lora_bit_for_bit(kind, dropout):
    options = dict(rank=4, alpha=8.0, dropout=dropout, learning_rate=RATE)
    settings = dict(budget={"steps": 6}, optimizer={"weight_decay": 0.1})
    ours = run_training(Rosa(density=0.0, **options), tiny.model(kind), rows_for(kind), **settings)
    lora = run_training(Lora(**options), tiny.model(kind), rows_for(kind), **settings)
    assert ours.records.losses == lora.records.losses
    assert len(set(ours.records.losses)) > 1
    theirs = lora.model.state_dict()
    assert set(ours.model.state_dict()) == set(theirs)
    assert all(value.equal(theirs[key]) for key, value in ours.model.state_dict().items())


class Masked(Full):
    """Dense training of the positions: a gradient hook per weight, AdamW over whole matrices. No sparse code."""

    chosen: dict[str, list[int]]

    def attach(self, model, *, seed):
        model.requires_grad_(False)
        for name, flat in self.chosen.items():
            layer = model.get_submodule(name)
            conv = type(layer).__name__ == "Conv1D"
            mask = torch.zeros(tuple(layer.weight.shape)[:: -1 if conv else 1])
            mask.view(-1)[flat] = 1.0
            mask = mask.t() if conv else mask
            layer.weight.requires_grad_(True)
            layer.weight.register_hook(lambda gradient, mask=mask: gradient * mask)
        return model


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_without_low_rank_part_it_trains_exactly_the_masked_entries(kind):
    method = Rosa(rank=0, density=0.05, learning_rate=RATE)
    settings = dict(budget={"steps": 10}, batch={"examples": 6})
    ours = run_training(method, tiny.model(kind), rows_for(kind), **settings)
    masked = Masked(chosen=positions(ours.model), learning_rate=RATE)
    dense = run_training(masked, tiny.model(kind), rows_for(kind), **settings)
    assert max(abs(a - b) for a, b in zip(ours.records.losses, dense.records.losses, strict=True)) <= 1e-6
    assert abs(ours.records.losses[-1] - ours.records.losses[0]) > 0.01
    plain = method.merged(ours.model).state_dict()
    changed = 0
    for key, value in dense.model.state_dict().items():
        assert torch.allclose(plain[key], value, atol=1e-5), key
        changed += int((value != tiny_weight(kind, key)).sum())
    assert changed == sum(len(flat) for flat in positions(ours.model).values())


def tiny_weight(kind: str, key: str) -> torch.Tensor:
    return tiny.model(kind).state_dict()[key]


# ------------------------------------------------------------------ the mask


def example_gradients(model, rows: list, names: list[str], *, pairs: bool) -> dict[str, np.ndarray]:
    """Layer -> (examples, O, I) in float64: plain autograd of each example's mean token loss, unpadded."""
    model.eval().requires_grad_(False)
    weights = {name: model.get_submodule(name).weight.requires_grad_(True) for name in names}
    found = {name: [] for name in names}
    for row in rows:
        ids = torch.tensor(row.ids, dtype=torch.long)[None]
        if pairs:
            start = torch.cat([torch.zeros(1, 1, dtype=torch.long), ids[:, :-1]], dim=1)
            source = torch.tensor(row.source, dtype=torch.long)[None]
            out, target, keep = model(input_ids=source, decoder_input_ids=start).logits[0], ids[0], row.supervised
        else:
            out, target, keep = model(input_ids=ids).logits[0, :-1], ids[0, 1:], row.supervised[1:]
        keep = torch.tensor(keep)
        gradients = torch.autograd.grad(F.cross_entropy(out[keep], target[keep]), list(weights.values()))
        for name, gradient in zip(names, gradients, strict=True):
            conv = type(model.get_submodule(name)).__name__ == "Conv1D"
            found[name].append((gradient.t() if conv else gradient).double().numpy())
    return {name: np.stack(arrays) for name, arrays in found.items()}


@pytest.mark.parametrize("score", ["mean_squared", "mean"])
@pytest.mark.parametrize("kind", KINDS)
def test_mask_is_the_top_of_independently_accumulated_gradients(kind, score):
    """After two warm-up steps, made here by LoRA's own run and merged; over the nine examples of steps 3 and 4."""
    method = Rosa(
        rank=4, density=0.05, learning_rate=RATE, low_rank_learning_rate=RATE,
        mask_gradient=score, warmup_steps=2, mask_examples=9,
    )  # fmt: skip
    chosen = positions(prepared(method, kind).model)
    lora = Lora(rank=4, learning_rate=RATE)
    warm = lora.merged(run_training(lora, tiny.model(kind), rows_for(kind), budget={"steps": 2}).model)
    order = Order(rows_for(kind), seed=0, examples=6, budget=tiny.run_config().budget)
    rows = [*order.step(3), *order.step(4)][:9]
    gradients = example_gradients(warm, rows, list(chosen), pairs=kind == "t5")
    overlap = []
    for name, flat in chosen.items():
        found = gradients[name]
        scores = ((found**2).mean(0) if score == "mean_squared" else np.abs(found.mean(0))).flatten()
        others = np.delete(scores, flat)
        assert flat == sorted(set(flat))
        assert len(flat) == int(0.05 * scores.size)
        assert scores[flat].min() >= others.max() * (1 - 1e-4), name
        untrained = np.abs(example_gradients_cache(kind, rows, list(chosen))[name]).mean(0).flatten()
        overlap.append(set(flat) == set(np.argsort(-untrained)[: len(flat)].tolist()))
    assert not all(overlap), "any score and any weights would give this mask"


def example_gradients_cache(kind: str, rows: list, names: list[str]) -> dict[str, np.ndarray]:
    key = (kind, tuple(row.example for row in rows))
    if key not in _UNTRAINED:
        _UNTRAINED[key] = example_gradients(tiny.model(kind), rows, names, pairs=kind == "t5")
    return _UNTRAINED[key]


_UNTRAINED: dict = {}


def test_mask_is_drawn_from_the_examples_of_one_step_by_default():
    order = Order(rows_for("llama"), seed=0, examples=6, budget=tiny.run_config().budget)
    options = dict(rank=0, density=0.05, learning_rate=RATE)
    default, six, one = (
        positions(prepared(Rosa(mask_examples=count, **options)).model) for count in (None, len(order.step(1)), 1)
    )
    assert default == six
    assert default != one


@pytest.mark.slow
def test_mask_is_the_same_however_many_layers_are_measured_at_a_time(monkeypatch):
    method = Rosa(rank=4, density=0.05, dropout=0.2, learning_rate=RATE)
    whole = positions(prepared(method).model)
    monkeypatch.setattr(whole_gradients, "AT_ONCE", 3000)
    assert len(in_passes(rosa._sparse_layers(prepared(method).model), limit=3000)) > 3
    assert positions(prepared(method).model) == whole


def test_after_preparing_everything_but_the_mask_starts_again():
    method = Rosa(rank=4, density=0.05, learning_rate=RATE, warmup_steps=3)
    session, fresh = prepared(method), make_session(method, tiny.model("llama"))
    start = dict(fresh.model.named_parameters())
    for name, parameter in session.model.named_parameters():
        assert parameter.equal(start[name]), name
        assert parameter.requires_grad == start[name].requires_grad
        assert parameter.grad is None
    assert session.updater.state() == {}
    assert positions(session.model) != positions(fresh.model)
    assert all(layer.collect is None for layer in adapted_layers(session.model).values())


def test_warming_up_takes_the_default_number_of_steps(monkeypatch):
    taken = []

    def counted(session, run, order, number, *, peak):
        taken.append(number)
        return SimpleNamespace(grad_norm=1.0)

    monkeypatch.setattr("tunelab.training.step.take_step", counted)
    prepared(Rosa(rank=4), budget={"steps": 50})
    assert taken == [1, 2, 3, 4, 5]
    taken.clear()
    prepared(Rosa(rank=4), budget={"steps": 1000})
    assert taken == list(range(1, 65))
    taken.clear()
    prepared(Rosa(rank=0), budget={"steps": 50})
    prepared(Rosa(rank=4, density=0), budget={"steps": 50})
    assert taken == []


@pytest.mark.parametrize("stop", [2, 5])
def test_killed_while_preparing_it_ends_as_if_never_stopped(stop, tmp_path, monkeypatch):
    """Two warm-up steps, then six examples: the second call is in the warm-up, the fifth in the measuring."""
    method = Rosa(rank=4, density=0.05, learning_rate=RATE, dropout=0.2, warmup_steps=2)
    settings = dict(checkpoint={"seconds": 0}, budget={"steps": 5})
    whole = run_training(method, tiny.model("llama"), rows_for("llama"), folder=tmp_path / "whole", **settings)
    from tunelab.backends.torch.session import TorchSession

    accumulate, calls = TorchSession.accumulate, []

    def stopping(self, *arguments, **options):
        calls.append(1)
        if len(calls) == stop:
            raise Stopped
        return accumulate(self, *arguments, **options)

    monkeypatch.setattr(TorchSession, "accumulate", stopping)
    with pytest.raises(Stopped):
        run_training(method, tiny.model("llama"), rows_for("llama"), folder=tmp_path / "cut", **settings)
    monkeypatch.undo()
    again = run_training(method, tiny.model("llama"), rows_for("llama"), folder=tmp_path / "cut", **settings)
    assert again.records.losses == whole.records.losses
    theirs = whole.model.state_dict()
    assert all(value.equal(theirs[key]) for key, value in again.model.state_dict().items())


def test_a_resumed_run_takes_its_mask_from_the_checkpoint(tmp_path, monkeypatch):
    method = Rosa(rank=4, density=0.05, learning_rate=RATE)
    settings = dict(checkpoint={"seconds": 0}, budget={"steps": 6}, folder=tmp_path)
    with pytest.raises(Stopped):
        run_training(method, tiny.model("llama"), rows_for("llama"), stop_after=4, **settings)
    monkeypatch.setattr(Rosa, "prepare", lambda *arguments: pytest.fail("prepared twice"))
    resumed = run_training(method, tiny.model("llama"), rows_for("llama"), **settings)
    monkeypatch.undo()
    assert positions(resumed.model) == positions(prepared(method, budget={"steps": 6}).model)


def test_mask_of_another_run(tmp_path):
    first = prepared(Rosa(rank=4, density=0.05, learning_rate=RATE, warmup_steps=2))
    first.method.save(first.model, tmp_path / "run" / "model")
    options = dict(rank=0, density=0.05, learning_rate=RATE)
    for folder in (tmp_path / "run", tmp_path / "run" / "model"):
        assert positions(prepared(Rosa(mask_from=folder, **options)).model) == positions(first.model)
    assert positions(prepared(Rosa(**options)).model) != positions(first.model)
    with pytest.raises(ConfigError, match="mask_from: .* set its density"):
        prepared(Rosa(mask_from=tmp_path / "run", rank=0, density=0.1))
    with pytest.raises(ConfigError, match="has no sparse positions for model.layers.0.self_attn.q_proj"):
        narrow = Rosa(rank=0, density=0.05, targets=("v_proj",))
        narrow.save(prepared(narrow).model, tmp_path / "narrow")
        prepared(Rosa(mask_from=tmp_path / "narrow", rank=0, density=0.05))
    with pytest.raises(ConfigError, match="holds no saved rosa model"):
        prepared(Rosa(mask_from=tmp_path / "nothing", rank=0, density=0.05))


# ------------------------------------------------------------------ sizes


@pytest.mark.parametrize(("rank", "density"), [(4, 0.05), (0, 0.05), (4, 0.0)])
@pytest.mark.parametrize("kind", KINDS)
def test_trained_counts_are_those_of_rank_and_density(kind, rank, density):
    shapes = [
        tuple(module.weight.shape)
        for module in tiny.model(kind).modules()
        if type(module).__name__ in ("Linear", "Conv1D") and module.weight.shape[0] != tiny.VOCABULARY
    ]
    expected = sum(rank * (a + b) + int(density * a * b) for a, b in shapes)
    session = make_session(Rosa(rank=rank, density=density), tiny.model(kind))
    assert session.parameters().trainable == expected > 0


@pytest.mark.slow
def test_no_dense_mask_and_no_dense_optimizer_state():
    method = Rosa(rank=2, density=0.01, learning_rate=RATE)
    gc.collect()
    before = {id(thing) for thing in gc.get_objects() if isinstance(thing, torch.Tensor)}
    session = run_training(method, tiny.model("llama"), rows_for("llama"), budget={"steps": 3}).session
    trained = session.parameters().trainable
    state = session.updater.state()
    assert sum(value.numel() for key, value in state.items() if not key.endswith(".step")) == 2 * trained
    gc.collect()
    live = [t for t in gc.get_objects() if isinstance(t, torch.Tensor) and id(t) not in before]
    frozen = sum(p.numel() for p in session.model.parameters() if not p.requires_grad)
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in live if t.device.type == "cpu"}
    fewest = 4 * (frozen + 3 * trained)  # weights, values, two moments
    positions_bytes = sum(4 * len(layer.sparse_index) for layer in adapted_layers(session.model).values())
    small = 16_384  # rotary tables and the like
    assert fewest <= sum(storages.values()) <= fewest + positions_bytes + small
    assert small < 4 * sum(layer.shape[0] * layer.shape[1] for layer in adapted_layers(session.model).values())


# ------------------------------------------------------------------ quality


class Regression(torch.nn.Module):
    """One linear map 48 -> 48 that is to become another one."""

    config = type("Config", (), {"is_encoder_decoder": False})

    def __init__(self):
        super().__init__()
        self.map = torch.nn.Linear(48, 48, bias=False)

    def get_output_embeddings(self):
        return None

    def forward(self, x):
        return self.map(x)


def regression_loss(method, change: torch.Tensor) -> float:
    """Mean squared error after 300 steps; the rows' numbers stand for inputs."""
    torch.manual_seed(1)
    model, inputs = Regression(), torch.randn(256, 48)
    wanted = inputs @ (model.map.weight.detach() + change).t()
    session = make_session(method, model, budget={"steps": 300}, batch={"examples": 32})
    errors = []

    def accumulate(batch, *, denominator, last):
        chosen = [row.example for row in batch.rows]
        error = (session.model(inputs[chosen]) - wanted[chosen]).square().mean()
        error.backward()
        return error.item() * denominator

    session.accumulate = accumulate
    rows = tiny.rows(256)
    order = run_order(session.run, rows)
    method.prepare(session, order, session.run)
    from tunelab.training.step import take_step

    for number in range(1, order.num_steps + 1):
        errors.append(take_step(session, session.run, order, number, peak=method.learning_rate).loss)
    return sum(errors[-10:]) / 10


@pytest.mark.slow
def test_low_rank_plus_sparse_target_wants_both():
    """768 values each: rank 8; rank 4 and a sixth of the matrix's 2,304 entries; a third of them."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(48, 4, generator=generator) for _ in range(2))
    spikes = torch.zeros(48 * 48)
    spikes[torch.randperm(48 * 48, generator=generator)[:300]] = 1.0
    change = 0.15 * left @ right.t() + spikes.view(48, 48) * torch.randn(48, 48, generator=generator)
    both = Rosa(rank=4, density=384 / 2304, learning_rate=RATE, low_rank_learning_rate=RATE)
    low = Rosa(rank=8, density=0.0, learning_rate=RATE)
    values = Rosa(rank=0, density=768 / 2304, learning_rate=RATE)
    counts = {make_session(method, Regression()).parameters().trainable for method in (both, low, values)}
    assert counts == {768}
    losses = [regression_loss(method, change) for method in (both, low, values)]
    assert losses[0] < 0.7 * min(losses[1:]), losses


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_bf16_products_train_fp32_values(kind):
    method = Rosa(rank=4, density=0.05, learning_rate=3e-3)
    trained = run_training(method, tiny.model(kind), rows_for(kind, 12), precision="bf16", budget={"steps": 30})
    assert sum(trained.records.losses[-4:]) < 0.97 * sum(trained.records.losses[:4])
    for layer in adapted_layers(trained.model).values():
        assert layer.base.weight.dtype == torch.bfloat16
        assert layer.sparse_values.dtype == torch.float32
        assert layer.sparse_values.abs().max() > 0


# ------------------------------------------------------------------ nf4


@pytest.mark.slow
@pytest.mark.parametrize("targets", ["all-linear", "attention"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_nf4_base_trains_and_merges_into_the_dequantised_weights(kind, targets, tmp_path):
    method = Rosa(rank=4, density=0.05, base="nf4", learning_rate=3e-3, targets=targets)
    assert method.base_storage == "nf4"
    trained = run_training(method, tiny.model(kind), rows_for(kind, 12), budget={"steps": 30})
    assert sum(trained.records.losses[-4:]) < 0.97 * sum(trained.records.losses[:4])
    layers = [m for m in trained.model.modules() if type(m).__name__ in ("Linear", "Conv1D")]
    assert [m for m in layers if m is not trained.model.get_output_embeddings()] == [], "a float weight is left"
    merged = method.merged(trained.model)
    assert (logits(merged, kind) - logits(trained.model, kind)).abs().max() < 1e-5
    shapes = {key: value.shape for key, value in tiny.model(kind).state_dict().items()}
    assert {key: value.shape for key, value in merged.state_dict().items()} == shapes
    method.save(trained.model, tmp_path)
    loaded = method.attach(tiny.model(kind), seed=3)
    method.load(loaded, tmp_path)
    assert logits(loaded, kind).equal(logits(trained.model, kind))


# ------------------------------------------------------------------ disk


@pytest.mark.parametrize("kind", KINDS)
def test_saved_layout_is_the_documented_one(kind, tmp_path):
    """Read back with numpy alone: alpha / rank * B A + CSR is the change of each weight."""
    method = Rosa(rank=4, alpha=8.0, density=0.05, learning_rate=3e-3)
    model = run_training(method, tiny.model(kind), rows_for(kind), budget={"steps": 3}).model
    method.save(model, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["tunelab_method"] == "rosa"
    saved = load_file(tmp_path / "adapter_model.safetensors")
    for name, layer in adapted_layers(model).items():
        part = {key: saved[f"base_model.model.{name}.sparse_{key}"] for key in ("values", "columns", "rows")}
        assert [part[key].dtype for key in part] == [np.float32, np.uint16, np.int32]
        a, b = (saved[f"base_model.model.{name}.lora_{half}.weight"] for half in "AB")
        change = config["options"]["alpha"] / config["options"]["rank"] * b @ a
        for row, (begin, end) in enumerate(zip(part["rows"], part["rows"][1:], strict=False)):
            change[row, part["columns"][begin:end]] += part["values"][begin:end]
        ours = layer.delta().t() if layer.transposed else layer.delta()
        assert np.allclose(change, ours.detach().numpy(), atol=1e-6)
    assert np.abs(part["values"]).max() > 0


@pytest.mark.parametrize("options", [{}, {"rank": 0, "schedule": "sparse_only"}, {"density": 0.0}, {"base": "nf4"}])
def test_saved_folder_says_how_to_load_it(options, tmp_path):
    from tunelab.study.planning.plan import recognise

    method = Rosa(**{"density": 0.05, "targets": ("v_proj",), **options})
    session = prepared(method)
    method.save(session.model, tmp_path)
    name, found = recognise(tmp_path)
    assert (name, found) == ("rosa", method)
    loaded = found.attach(tiny.model("llama"), seed=8)
    found.load(loaded, tmp_path)
    assert logits(loaded, "llama").equal(logits(session.model, "llama"))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"rank": 8}, "has shape"),
        ({"density": 0.1}, "has shape"),
        ({"rank": 0}, "other parts of them"),
        ({"targets": ("q_proj",)}, "other layers"),
    ],
)
def test_a_folder_of_other_options_is_refused(other, message, tmp_path):
    options = {"rank": 4, "density": 0.05, "targets": ("v_proj",)}
    Rosa(**options).save(prepared(Rosa(**options)).model, tmp_path)
    wrong = Rosa(**{**options, **other})
    with pytest.raises(ModelError, match=message):
        wrong.load(wrong.attach(tiny.model("llama"), seed=0), tmp_path)
    with pytest.raises(ModelError, match="no adapter_model.safetensors"):
        wrong.load(wrong.attach(tiny.model("llama"), seed=0), tmp_path / "nothing")


# ------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0, "density": 0}, "rank: 0 together with density: 0"),
        ({"density": 1.0}, "less than 1"),
        ({"density": -0.1}, "greater than or equal to 0"),
        ({"rank": -1}, "greater than or equal to 0"),
        ({"schedule": "low_rank_only"}, "got density: 0.003, set it to 0"),
        ({"schedule": "sparse_only"}, "got rank: 8, set it to 0"),
        ({"rank": 0, "warmup_steps": 3}, "warmup_steps: "),
        ({"rank": 0, "low_rank_learning_rate": 1e-3}, "low_rank_learning_rate: "),
        ({"density": 0, "mask_from": "x"}, "mask_from: density: 0"),
        ({"density": 0, "warmup_steps": 3}, "warmup_steps: density: 0"),
        ({"mask_from": "x", "mask_examples": 3}, "mask_examples: mask_from"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        Rosa(**options)


def test_options_that_do_not_fit_the_model_are_refused():
    with pytest.raises(ConfigError, match="rank: 33 is larger than the matrix"):
        Rosa(rank=33).attach(tiny.model("llama"), seed=0)
    with pytest.raises(ConfigError, match="density: 1e-05 of 2048 weights"):
        Rosa(density=1e-5).attach(tiny.model("llama"), seed=0)
    with pytest.raises(ConfigError, match="'w_proj'; there are q_proj, k_proj"):
        Rosa(targets=("w_proj",)).attach(tiny.model("llama"), seed=0)
    with pytest.raises(ConfigError, match="warmup_steps: 20 is not below the run's 20 steps"):
        prepared(Rosa(warmup_steps=20), budget={"steps": 20})


@pytest.mark.parametrize(
    ("options", "budget", "message"),
    [
        ({"warmup_steps": 64}, {"steps": 64}, "4: methods.0.rosa: warmup_steps: 64 is not below the run's 64 steps"),
        ({"mask_from": "nowhere"}, {"epochs": 1}, "4: methods.0.rosa: mask_from: .*/nowhere holds no saved rosa"),
        ({"rank": 0, "density": 0}, {"epochs": 1}, "4: methods.0.rosa: rank: 0 together with density: 0"),
    ],
)
def test_a_run_without_mask_is_refused_while_planning(options, budget, message, tmp_path):
    from tunelab.config.read import read_study
    from tunelab.study.planning.plan import make_plan

    file = tmp_path / "study.yaml"
    lines = ["model: tunelab/tiny", "tasks: [restaurants]", "methods:", f"- rosa: {json.dumps(options)}"]
    file.write_text("\n".join([*lines, f"budget: {json.dumps(budget)}"]))
    with pytest.raises(ConfigError, match=message) as raised:
        make_plan(read_study(file))
    assert len(raised.value.problems) == 1
    assert "\n" not in str(raised.value)


def test_learning_rates_are_the_published_ones_and_move_together():
    def rates(**options):
        method = Rosa(**options)
        return [method.learning_rate * method.rate_of(f"layer.{p}") for p in ("lora_A", "lora_B", "sparse_values")]

    assert rates() == pytest.approx([7e-4, 7e-4, 2e-4])
    assert rates(learning_rate=4e-4) == pytest.approx([14e-4, 14e-4, 4e-4])
    assert rates(learning_rate=4e-4, low_rank_learning_rate=1e-3) == pytest.approx([1e-3, 1e-3, 4e-4])
    assert rates(density=0.0)[:2] == [2e-4, 2e-4]
