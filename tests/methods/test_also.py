"""What is trained beside adapters: which parameters, by which rate, on disk, in PEFT and back, merged."""

import json
import warnings

import peft
import pytest
import torch
from safetensors.torch import load_file

import tiny
from parity.test_lora import RATE, STEPS, reference_loss
from training_harness import Records, Stopped, make_session, run_training
from tunelab.data.tokens.batching import Order
from tunelab.errors import ConfigError, ModelError
from tunelab.kernels.adapted_linear import adapted_layers
from tunelab.methods.dora import Dora
from tunelab.methods.lora import Lora
from tunelab.methods.qlora import Qlora
from tunelab.methods.rosa import Rosa
from tunelab.models.also import beside
from tunelab.study.planning.plan import build_method
from tunelab.training.optim import trained_parameters

METHODS = {"lora": Lora, "qlora": Qlora, "rosa": Rosa, "dora": Dora}
ALSO = ("embeddings", "norms", "biases")
MODELS = {
    "tied": lambda: tiny.model("llama"),
    "apart": lambda: tiny.model("llama", tie_word_embeddings=False),
    "gpt2": lambda: tiny.model("gpt2"),
    "t5": lambda: tiny.model("t5"),
}


def build(name, **options):
    ranks = {"density": 0.02} if name == "rosa" else {}
    return METHODS[name](rank=4, learning_rate=1e-2, **ranks, **options)


def trained(method, kind, *, steps=3):
    return run_training(method, MODELS[kind](), rows(kind), budget={"steps": steps}).model


def rows(kind):
    return tiny.rows(18, pairs=kind == "t5")


def logits(model, kind):
    ids = torch.arange(2, 14).reshape(2, 6)
    extra = {"decoder_input_ids": ids} if kind == "t5" else {}
    with torch.no_grad():
        return model.eval()(input_ids=ids, **extra).logits


def also_for(kind):
    return ALSO if kind == "gpt2" else ALSO[:2]  # LLaMA and T5 have no biases


def moved(model, kind):
    """Paths of the untouched model's parameters that are other numbers now."""
    now = {name.replace(".base_layer.", ".").replace(".base.", "."): value for name, value in model.named_parameters()}
    return {name for name, value in MODELS[kind]().named_parameters() if name in now and not now[name].equal(value)}


def wanted(kind):
    names = [name for name, _ in MODELS[kind]().named_parameters()]
    ends = ("embed_tokens.weight", "wte.weight", "shared.weight")
    return {name for name in names if name.endswith((*ends, ".bias")) or "norm" in name or ".ln_" in name}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", METHODS)
def test_it_is_trained_saved_loaded_and_merged(name, kind, tmp_path):
    method = build(name, also=also_for(kind))
    model = trained(method, kind)
    assert moved(model, kind) == wanted(kind)
    method.save(model, tmp_path)
    loaded = method.attach(MODELS[kind](), seed=5)
    method.load(loaded, tmp_path)
    found = logits(model, kind)
    assert found.equal(logits(loaded, kind))
    assert (logits(method.merged(model), kind) - found).abs().max() < 1e-5
    assert found.equal(logits(model, kind)), "merging changed the model that was given"
    again = METHODS[name](**METHODS[name].saved_options(tmp_path))
    recognised = again.attach(MODELS[kind](), seed=6)
    again.load(recognised, tmp_path)
    assert found.equal(logits(recognised, kind))


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", ["lora", "dora"])
def test_peft_reads_it(name, kind, tmp_path):
    method = build(name, also=(*also_for(kind), "head"))
    model = trained(method, kind)
    method.save(model, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = peft.PeftModel.from_pretrained(MODELS[kind](), tmp_path)
    assert torch.allclose(logits(model, kind), logits(loaded, kind), atol=1e-6)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config.get("ensure_weight_tying", False) == (kind in ("tied", "gpt2"))
    assert config["bias"] == ("all" if kind == "gpt2" else "none")


def in_peft(kind, *, use_dora=False, **options):
    config = peft.LoraConfig(
        r=4,
        lora_alpha=16,
        use_dora=use_dora,
        target_modules={"gpt2": ["c_attn", "c_proj"], "t5": ["q", "v"]}.get(kind, ["q_proj", "down_proj"]),
        fan_in_fan_out=kind == "gpt2",
        task_type="SEQ_2_SEQ_LM" if kind == "t5" else "CAUSAL_LM",
        **options,
    )
    return peft.get_peft_model(MODELS[kind](), config)


PEFTS = {
    "tied": {"modules_to_save": ["embed_tokens", "norm"], "ensure_weight_tying": True},
    "apart": {"modules_to_save": ["lm_head", "layernorm"]},
    "gpt2": {"modules_to_save": ["ln_f"], "bias": "all"},
    "t5": {"modules_to_save": ["layer_norm"]},
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", ["lora", "dora"])
def test_what_peft_saved_is_read(name, kind, tmp_path):
    reference = in_peft(kind, use_dora=name == "dora", **PEFTS[kind])
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in reference.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    reference.save_pretrained(tmp_path)
    method = METHODS[name](**METHODS[name].saved_options(tmp_path))
    ours = method.attach(MODELS[kind](), seed=9)
    method.load(ours, tmp_path)
    assert torch.allclose(logits(ours, kind), logits(reference, kind), atol=1e-6)
    untuned = logits(MODELS[kind](), kind)
    assert not torch.allclose(logits(ours, kind), untuned, atol=1e-3)


def test_an_embedding_that_peft_took_from_its_head_is_refused(tmp_path):
    in_peft("tied", modules_to_save=["embed_tokens"]).save_pretrained(tmp_path)
    method = Lora(**Lora.saved_options(tmp_path))
    with pytest.raises(ModelError, match=r"embed_tokens.*one matrix.*PEFT"):
        method.load(method.attach(MODELS["tied"](), seed=0), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tied", "apart", "gpt2"])
def test_losses_equal_pefts(kind):
    method = build("lora", targets={"gpt2": ("c_attn", "c_proj")}.get(kind, ("q_proj", "down_proj")), also=ALSO[:2])
    ties = {} if kind == "apart" else {"ensure_weight_tying": True}
    modules = {"gpt2": ["wte", "lm_head", "ln_1", "ln_2", "ln_f"]}.get(kind, ["embed_tokens", "norm"])
    reference = in_peft(kind, modules_to_save=modules, **ties)
    ours = method.attach(MODELS[kind](), seed=0)
    with torch.no_grad():
        for name, value in trained_parameters(ours).items():
            if ".lora_" in name:
                module, half = name.rsplit(".", 1)
                reference.get_submodule(f"base_model.model.{module}.{half}.default").weight.copy_(value)
    optimizer = torch.optim.AdamW(reference.parameters(), lr=RATE, weight_decay=0.0, foreach=False)
    order = Order(rows(kind), seed=0, examples=6, budget=tiny.run_config(budget={"steps": STEPS}).budget)
    losses = []
    for step in range(1, STEPS + 1):
        loss = reference_loss(reference, order.step(step), pairs=False)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    found = run_training(method, MODELS[kind](), rows(kind), budget={"steps": STEPS}).records.losses
    assert max(abs(one - other) for one, other in zip(found, losses, strict=True)) < 1e-5


@pytest.mark.parametrize("name", METHODS)
def test_it_has_a_rate_of_its_own(name):
    method = build(name, also="norms", also_rate=0.1)
    session = make_session(method, MODELS["tied"]())
    rates = {each: method.rate_of(each) for each in trained_parameters(session.model)}
    assert {rate for each, rate in rates.items() if "norm" in each} == {0.1}
    assert 0.1 not in {rate for each, rate in rates.items() if "norm" not in each}


def test_names_and_patterns():
    model = Lora(targets="attention").attach(tiny.model("gpt2"), seed=0)
    assert set(beside(model, ("wpe",)).modules) == {"transformer.wpe"}
    assert set(beside(model, ("mlp",)).modules) == {
        f"transformer.h.{n}.mlp.c_{x}" for n in (0, 1) for x in ("fc", "proj")
    }
    assert set(beside(model, r".*\.0\.ln_1").modules) == {"transformer.h.0.ln_1"}
    assert set(beside(model, ("head",)).modules) == {"transformer.wte", "lm_head"}
    assert beside(model, ("head",)).ties and not beside(model, ("wpe",)).ties


@pytest.mark.parametrize(
    ("also", "said"),
    [
        (("nowhere",), "'nowhere' names no module with weights; there are embeddings, head, norms, biases, and"),
        (("mlp",), "'gate_proj' is adapted by `targets`"),
        (("biases",), "biases: this model has none"),
        ("norms(", r"also \(none of embeddings, head, norms, biases\): 'norms\(' is not a regular expression"),
    ],
)
def test_what_cannot_be_is_said(also, said):
    with pytest.raises(ConfigError, match=said):
        Lora(also=also).attach(MODELS["tied"](), seed=0)


def test_what_is_held_in_four_bits_cannot_be_trained():
    with pytest.raises(ConfigError, match="held in few bits"):
        Qlora(rank=4, targets="attention", also=("mlp",)).attach(MODELS["tied"](), seed=0)


def test_one_matrix_is_said():
    said = Lora(also=("embeddings",)).remarks(MODELS["tied"]())
    assert said == [
        "also: the embedding and the output head are one matrix in this model, and stay one: both are trained"
    ]
    assert Lora(also=("embeddings",)).remarks(MODELS["apart"]()) == []


def test_other_options_than_those_it_was_saved_with(tmp_path):
    method = build("lora", also=("norms",))
    method.save(method.attach(MODELS["tied"](), seed=0), tmp_path)
    for other, said in ((build("lora"), "do not train"), (build("lora", also=ALSO[:2]), "no .*embed_tokens.*in it")):
        with pytest.raises(ModelError, match=said):
            other.load(other.attach(MODELS["tied"](), seed=0), tmp_path)


def test_a_study_without_it_is_the_run_that_it_was():
    assert "also" not in Lora().model_dump() and "also_rate" not in Lora().model_dump()
    assert Lora(also=("norms",)).model_dump()["also"] == ("norms",)


@pytest.mark.parametrize("name", ["lora", "rosa"])
def test_resuming_is_exact(name, tmp_path):
    method, settings = build(name, also=ALSO[:2]), {"checkpoint": {"seconds": 0}, "budget": {"steps": 6}}
    whole = run_training(method, MODELS["tied"](), rows("tied"), folder=tmp_path / "whole", **settings)
    records, cut = Records(), tmp_path / "cut"
    with pytest.raises(Stopped):
        run_training(method, MODELS["tied"](), rows("tied"), folder=cut, records=records, stop_after=3, **settings)
    resumed = run_training(method, MODELS["tied"](), rows("tied"), folder=cut, records=records, **settings)
    assert resumed.records.losses == whole.records.losses
    for (key, value), other in zip(whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        assert value.equal(other), key


def test_rosas_warm_up_leaves_it_as_it_was():
    """Positions come from gradients of the untouched base with low-rank factors, and everything starts again."""
    method = build("rosa", also=ALSO[:2], warmup_steps=2)
    plain = build("rosa", warmup_steps=2)
    one, other = (
        run_training(each, MODELS["apart"](), rows("apart"), budget={"steps": 3}).model for each in (method, plain)
    )
    layers = adapted_layers(one)
    assert all(layers[name].sparse.index_K.equal(each.sparse.index_K) for name, each in adapted_layers(other).items())


def test_saved_tensors_are_pefts(tmp_path):
    method = build("lora", targets=("q_proj",), also=("embeddings", "norms"))
    method.save(method.attach(MODELS["tied"](), seed=0), tmp_path)
    names = {key for key in load_file(tmp_path / "adapter_model.safetensors") if "lora_" not in key}
    layers = [f"layers.{n}.{norm}" for n in (0, 1) for norm in ("input_layernorm", "post_attention_layernorm")]
    inside = ["embed_tokens", "norm", *layers]
    assert names == {f"base_model.model.{name}.weight" for name in ("lm_head", *(f"model.{each}" for each in inside))}


def test_of_two_methods_that_share_a_model_the_second_has_it():
    lora = {"targets": "attention", "rank": 2}
    parts = [{"lora": {**lora, "also": ["embeddings"]}}, {"full": {}}]
    with pytest.raises(ConfigError, match="also: what is no linear layer belongs to the second method"):
        build_method("layerwise", {"parts": parts}).attach(MODELS["tied"](), seed=0)
    method = build_method("layerwise", {"parts": [{"full": {}}, {"lora": {"rank": 2, "also": ["norms"]}}]})
    model = method.attach(MODELS["tied"](), seed=0)
    named = {name for name, value in trained_parameters(model).items() if "norm" in name}
    assert named == {name for name in wanted("tied") if "norm" in name}
