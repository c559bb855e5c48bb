"""LoRA that starts from the gradient of the untouched model: what its papers promise of the first step."""

import peft
import pytest
import torch
from torch.nn import functional as F

import tiny
from training_harness import Records, Stopped, make_session, run_training
from tunelab.data.tokens.batching import Order
from tunelab.errors import ConfigError
from tunelab.kernels.adapted_linear import adapted_layers
from tunelab.kernels.adapters import gradient_start, initial
from tunelab.methods.lora import Lora
from tunelab.methods.qlora import Qlora

INITS = ("lora_ga", "lora_one")
RANK = 4


def build(init, **options):
    return Lora(rank=RANK, alpha=8.0, init=init, learning_rate=1e-2, **options)


def prepared(method, model, rows=None):
    rows = rows or tiny.rows()
    session = make_session(method, model)
    order = Order(rows, seed=0, examples=6, budget=session.run.budget)
    method.prepare(session, order, session.run)
    return session.model, order


def own_gradients(kind, rows):
    """Module path -> gradient of the weight, (O, I): the mean over examples of that of their own mean token loss."""
    model = tiny.model(kind)
    for row in rows:
        ids = torch.tensor(row.ids, dtype=torch.long)[None]
        logits, keep = model(input_ids=ids).logits[0, :-1], torch.tensor(row.supervised[1:])
        (F.cross_entropy(logits[keep], ids[0, 1:][keep]) / len(rows)).backward()
    transposed = kind == "gpt2"
    found = {name.removesuffix(".weight"): value.grad for name, value in model.named_parameters()}
    return {name: grad.t() if transposed else grad for name, grad in found.items() if grad is not None}


def cut(matrix_OI, rank):
    """The nearest matrix of that rank."""
    u, values, v = torch.linalg.svd(matrix_OI, full_matrices=False)
    return (u[:, :rank] * values[:rank]) @ v[:rank]


def logits(model, kind="llama"):
    ids = torch.arange(2, 14).reshape(2, 6)
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def along(one, other):
    """Cosine of two matrices."""
    return float(F.cosine_similarity(one.flatten(), other.flatten(), dim=0))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_lora_gas_first_step_is_that_of_the_weight_cut_to_twice_the_rank(kind):
    """Theorem 3.1 of the paper: of all starts its s (dB A0 + B0 dA) is nearest to the gradient."""
    model, order = prepared(build("lora_ga"), tiny.model(kind))
    gradients = own_gradients(kind, order.step(1))
    for name, layer in adapted_layers(model).items():
        gradient, (a, b) = gradients[name], layer.factors
        size = len(gradient) ** 0.5 / 16
        assert torch.allclose(a @ a.t(), size * torch.eye(RANK), atol=1e-5)
        assert torch.allclose(b.t() @ b, size * torch.eye(RANK), atol=1e-5)
        step = gradient @ a.t() @ a + b @ b.t() @ gradient  # what plain descent on A and B changes of B A
        assert torch.allclose(step / size, cut(gradient, 2 * RANK), atol=1e-4 * float(gradient.abs().max()))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_lora_one_starts_with_a_step_down_the_gradient_cut_to_the_rank(kind):
    model, order = prepared(build("lora_one"), tiny.model(kind))
    gradients = own_gradients(kind, order.step(1))
    for name, layer in adapted_layers(model).items():
        nearest = cut(gradients[name], RANK)
        change = layer.factors.b_OR @ layer.factors.a_RI
        wanted = -nearest / torch.linalg.matrix_norm(gradients[name], ord=2) / 128
        assert along(change, wanted) > 0.9999 and torch.allclose(change, wanted, atol=1e-5)
        assert initial(layer) is None


def test_the_one_leaves_the_product_as_it_was_and_the_other_lowers_the_loss():
    untouched = logits(tiny.model("llama"))
    assert torch.allclose(logits(prepared(build("lora_ga"), tiny.model("llama"))[0]), untouched, atol=1e-5)
    assert not torch.allclose(logits(prepared(build("lora_one", init_gamma=1.0), tiny.model("llama"))[0]), untouched)
    losses = {
        init: run_training(
            build(init, **options), tiny.model("llama"), tiny.rows(), budget={"steps": 1}
        ).records.losses[0]
        for init, options in {"default": {}, "lora_ga": {}, "lora_one": {"init_gamma": 4.0}}.items()
    }
    assert losses["lora_ga"] == pytest.approx(losses["default"], abs=1e-5)
    assert losses["lora_one"] < losses["default"] - 1e-4


@pytest.mark.parametrize("init", INITS)
def test_a_rate_that_default_lora_needs_many_steps_with_goes_faster(init):
    first = {}
    for each in ("default", init):
        trained = run_training(build(each, scaling="rslora"), tiny.model("llama"), tiny.rows(), budget={"steps": 12})
        first[each] = trained.records.losses[-1]
    assert first[init] < first["default"], first


@pytest.mark.parametrize("init", INITS)
def test_saved_adapters_fit_the_untouched_base_in_ours_and_in_peft(init, tmp_path):
    method = build(init)
    model = run_training(method, tiny.model("llama"), tiny.rows(), budget={"steps": 3}).model
    method.save(model, tmp_path)
    loaded = peft.PeftModel.from_pretrained(tiny.model("llama"), tmp_path)
    assert torch.allclose(logits(loaded), logits(model), atol=1e-5)
    again = Lora(**Lora.saved_options(tmp_path))
    recognised = again.attach(tiny.model("llama"), seed=3)
    again.load(recognised, tmp_path)
    assert torch.allclose(logits(recognised), logits(model), atol=1e-5)
    same = method.attach(tiny.model("llama"), seed=3)
    method.load(same, tmp_path)
    assert torch.allclose(logits(same), logits(model), atol=1e-5)
    assert torch.allclose(logits(method.merged(model)), logits(model), atol=1e-5)


@pytest.mark.parametrize("init", INITS)
def test_resuming_is_exact(init, tmp_path):
    method, settings = build(init), {"checkpoint": {"seconds": 0}, "budget": {"steps": 6}}
    whole = run_training(method, tiny.model("llama"), tiny.rows(), folder=tmp_path / "whole", **settings)
    records, folder = Records(), tmp_path / "cut"
    with pytest.raises(Stopped):
        run_training(method, tiny.model("llama"), tiny.rows(), folder=folder, records=records, stop_after=3, **settings)
    resumed = run_training(method, tiny.model("llama"), tiny.rows(), folder=folder, records=records, **settings)
    assert resumed.records.losses == whole.records.losses
    for (key, value), other in zip(whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        assert value.equal(other), key


def test_more_examples_are_another_start():
    few, _ = prepared(build("lora_one", init_examples=2), tiny.model("llama"))
    many, _ = prepared(build("lora_one", init_examples=9), tiny.model("llama"))
    one, other = (next(iter(adapted_layers(model).values())).factors.a_RI for model in (few, many))
    assert not torch.allclose(one, other, atol=1e-3)


def test_a_weight_without_a_gradient_stays_as_it_is():
    start = gradient_start(torch.zeros(6, 5), rank=2, init="lora_one", gamma=128.0)
    assert (start.b_OR @ start.a_RI).abs().max() == 0.0


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="init_gamma: of init: lora_ga and lora_one alone"):
        Lora(init_gamma=3.0)
    with pytest.raises(ConfigError, match="lora_ga takes 2 x 20 directions of .*q_proj, which has 32"):
        Lora(rank=20, init="lora_ga").attach(tiny.model("llama"), seed=0)
    with pytest.raises(ConfigError, match="init: lora_ga takes a part out of the base, and a quantised base"):
        Qlora(rank=4, init="lora_ga").attach(tiny.model("llama"), seed=0)


def test_on_a_base_in_four_bits_lora_one_starts_too():
    model, _ = prepared(Qlora(rank=4, init="lora_one", learning_rate=1e-2), tiny.model("llama"))
    assert min(float(layer.factors.b_OR.abs().max()) for layer in adapted_layers(model).values()) > 0
