"""QLoRA against PEFT on bitsandbytes' own layers; what is held while training; what merging gives."""

import json

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

import tiny
from parity.test_lora import RATE, STEPS, TARGETS, copy_start, logits, reference_loss
from training_harness import make_session, run_training
from tunelab.backends.torch import loading
from tunelab.config.schema import Generation, ModelSource
from tunelab.data.tokens.batching import Order, micro_batches
from tunelab.errors import ConfigError, ModelError
from tunelab.kernels.adapted_linear import AdaptedLinear
from tunelab.methods.lora import Lora
from tunelab.methods.qlora import Qlora
from tunelab.models.load import load_model, locate
from tunelab.models.quantise import Nf4Linear, kept_float
from tunelab.models.targets import linear_layers
from tunelab.study.planning.plan import recognise


def qlora(kind: str = "llama", **options) -> Qlora:
    return Qlora(**{"rank": 4, "alpha": 8.0, "targets": TARGETS[kind], "learning_rate": RATE, **options})


def bitsandbytes_model(folder):
    """As transformers loads a model in 4 bits."""
    from bitsandbytes.nn import Linear4bit

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=config, device_map={"": "cpu"}, dtype=torch.float32
    )
    layers = [layer for layer in model.modules() if isinstance(layer, Linear4bit)]
    assert layers, "nothing was quantised"
    for layer in layers:
        layer.support_avx512bf16_for_cpu = False  # it repacks weights there, and dequantises them wrongly afterwards
    return model


def peft_config(kind: str, method: Qlora) -> peft.LoraConfig:
    sizes = dict(r=method.rank, lora_alpha=method.alpha, target_modules=list(method.targets))
    return peft.LoraConfig(**sizes, lora_dropout=0.0, task_type="CAUSAL_LM")


def whole_blocks(kind: str):
    """Rows of whole blocks: else bitsandbytes' AVX-512 code, and so PEFT over it, reads wrong scales."""
    return tiny.model(kind, **({"n_embd": 128} if kind == "gpt2" else {"hidden_size": 64, "intermediate_size": 128}))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_losses_equal_pefts_on_bitsandbytes_layers(kind, tmp_path):
    method, rows = qlora(kind), tiny.rows(18)
    whole_blocks(kind).save_pretrained(tmp_path)
    ours = run_training(method, whole_blocks(kind), rows, budget={"steps": STEPS}).records.losses
    reference = peft.get_peft_model(bitsandbytes_model(tmp_path), peft_config(kind, method))
    copy_start(reference, method.attach(whole_blocks(kind), seed=0))
    trained = [parameter for parameter in reference.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0, foreach=False)
    order = Order(rows, seed=0, examples=6, budget=tiny.run_config(budget={"steps": STEPS}).budget)
    theirs = []
    for step in range(1, STEPS + 1):
        loss = reference_loss(reference, order.step(step), pairs=False)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        theirs.append(loss.item())
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 1e-4
    lora = Lora(rank=4, alpha=8.0, targets=TARGETS[kind], learning_rate=RATE)
    float_base = run_training(lora, whole_blocks(kind), rows, budget={"steps": STEPS}).records.losses
    assert max(abs(a - b) for a, b in zip(ours, float_base, strict=True)) > 1e-3, "quantising changed nothing"


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_our_adapter_loads_in_peft_on_a_4_bit_and_on_a_float_model(kind, tmp_path):
    method = qlora(kind)
    whole_blocks(kind).save_pretrained(tmp_path / "base")
    model = run_training(method, whole_blocks(kind), tiny.rows(18), budget={"steps": 3}).model
    method.save(model, tmp_path / "adapter")
    quantised = bitsandbytes_model(tmp_path / "base")
    untuned = logits(quantised, kind)
    loaded = peft.PeftModel.from_pretrained(quantised, tmp_path / "adapter")
    assert torch.allclose(logits(loaded, kind), logits(model, kind), atol=1e-5)
    assert not torch.allclose(logits(loaded, kind), untuned, atol=1e-3), "the adapter changed nothing"
    on_float = peft.PeftModel.from_pretrained(whole_blocks(kind), tmp_path / "adapter")
    lora = Lora(rank=4, alpha=8.0, targets=TARGETS[kind])
    ours = lora.attach(whole_blocks(kind), seed=5)
    lora.load(ours, tmp_path / "adapter")
    assert torch.allclose(logits(on_float, kind), logits(ours, kind), atol=1e-6)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_pefts_4_bit_adapter_loads_in_ours(kind, tmp_path):
    method = qlora(kind)
    whole_blocks(kind).save_pretrained(tmp_path / "base")
    reference = peft.get_peft_model(bitsandbytes_model(tmp_path / "base"), peft_config(kind, method))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    reference.save_pretrained(tmp_path / "adapter")
    ours = method.attach(whole_blocks(kind), seed=9)
    method.load(ours, tmp_path / "adapter")
    assert torch.allclose(logits(ours, kind), logits(reference, kind), atol=1e-5)


def test_a_folder_says_which_method_wrote_it(tmp_path):
    method = qlora(dropout=0.1)
    method.save(method.attach(tiny.model("llama"), seed=0), tmp_path / "ours")
    name, found = recognise(tmp_path / "ours")
    assert (name, found.rank, found.alpha, found.dropout) == ("qlora", 4, 8.0, 0.1)
    assert set(found.targets) == set(method.targets)
    lora = Lora(rank=4)
    lora.save(lora.attach(tiny.model("llama"), seed=0), tmp_path / "lora")
    assert recognise(tmp_path / "lora")[0] == "lora"
    peft.get_peft_model(tiny.model("llama"), peft_config("llama", method)).save_pretrained(tmp_path / "foreign")
    assert recognise(tmp_path / "foreign")[0] == "lora"


def storages(tensors) -> int:
    """Live bytes, each storage once."""
    held = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(held.values())


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_linear_layers_take_a_fifth_of_fp32_while_training(kind):
    sizes = {"gpt2": {"n_embd": 128}, "t5": {"d_model": 128, "d_ff": 256}}
    model = tiny.model(kind, **sizes.get(kind, {"hidden_size": 128, "intermediate_size": 256}))
    float_ones = kept_float(model)  # T5's `wo`, as transformers has it
    weights = sum(layer.weight.numel() for name, layer in linear_layers(model).items() if name not in float_ones)
    method, rows = Qlora(rank=4, targets="attention", learning_rate=RATE), tiny.rows(12, pairs=kind == "t5")
    trained = run_training(method, model, rows, budget={"steps": 2}).model
    held = [layer for layer in trained.modules() if isinstance(layer, Nf4Linear)]
    assert sum(layer.quantised_weights for layer in held) == weights
    frozen = [parameter for parameter in trained.parameters() if not parameter.requires_grad]
    linear = storages(value for layer in held for value in layer.state().values())
    assert linear < 0.2 * 4 * weights
    others = tiny.model(kind, **sizes.get(kind, {"hidden_size": 128, "intermediate_size": 256}))
    rest = storages([*others.parameters(), *others.buffers()]) - 4 * weights
    assert storages([*frozen, *trained.buffers()]) == linear + rest, "something else is held"


def test_the_graph_keeps_no_dense_weight():
    session = make_session(qlora(), tiny.model("llama", intermediate_size=48))
    shapes = {layer.shape for layer in session.model.modules() if isinstance(layer, Nf4Linear)}
    dense = {size for shape in shapes for size in (shape, shape[::-1])}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda value: kept.append(tuple(value.shape)) or value, lambda v: v):
        session.accumulate(next(iter(micro_batches(tiny.rows(5), max_tokens=10**9))), denominator=1, last=True)
    assert kept and not dense & set(kept)


def gradients(session, rows) -> list[torch.Tensor]:
    session.model.zero_grad()
    for batch in micro_batches(rows, max_tokens=10**9):
        session.accumulate(batch, denominator=10, last=True)
    return [parameter.grad.clone() for parameter in session.model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_evaluating_in_between_changes_no_gradient(precision):
    """bitsandbytes' own layer repacks its weights at the first evaluation on CPUs with AVX512-BF16."""
    rows = tiny.rows(12)
    session = make_session(qlora(), tiny.model("llama"), precision=precision)
    before, merged = gradients(session, rows), session.method.merged(session.model)
    session.evaluate(micro_batches(rows, max_tokens=10**9))
    session.generate([row.ids[:4] for row in rows[:2]], Generation(max_new_tokens=4), progress=lambda done: None)
    after = gradients(session, rows)
    assert len(before) == 12 and all(one.equal(other) for one, other in zip(before, after, strict=True))
    again = session.method.merged(session.model)
    assert all(one.equal(other) for one, other in zip(merged.parameters(), again.parameters(), strict=True))


def test_recomputed_activations_give_the_same_gradients():
    rows = tiny.rows(12)
    plain = make_session(qlora(), tiny.model("llama"))
    recomputed = make_session(qlora(), tiny.model("llama"))
    recomputed.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    pairs = zip(gradients(plain, rows), gradients(recomputed, rows), strict=True)
    assert all(torch.allclose(one, other, rtol=1e-5, atol=1e-7) for one, other in pairs)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_the_quantised_model_generates_what_its_merged_weights_generate(kind):
    rows = tiny.rows(12, pairs=kind == "t5")
    session = run_training(qlora(kind, learning_rate=1e-3), tiny.model(kind), rows, budget={"steps": 4}).session
    assert session.plain_model() is session.model
    prompts = [(row.source if kind == "t5" else row.ids[:5]) for row in rows[:4]]
    ours = session.generate(prompts, Generation(max_new_tokens=8), progress=lambda done: None)
    session._generator = session.method.merged(session.model)
    assert ours == session.generate(prompts, Generation(max_new_tokens=8), progress=lambda done: None)
    assert any(ours)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_merging_into_the_dequantised_and_into_the_original_base(kind, tmp_path):
    folder = tiny.model_folder(tmp_path / "base", kind)
    source = ModelSource(name=str(folder))
    floats = {name: layer.weight for name, layer in linear_layers(load_model(source, locate(source), seed=0)).items()}
    method = qlora(kind)
    model = run_training(method, load_model(source, locate(source), seed=0), tiny.rows(12), budget={"steps": 5}).model
    dequantised = linear_layers(method.merged(model))
    original = linear_layers(method.model_copy(update={"merge_base": "original"}).merged(model))
    assert set(dequantised) == set(original) == set(floats)
    for name, weight in floats.items():
        layer = model.get_submodule(name)
        adapted = isinstance(layer, AdaptedLinear)
        held = layer.dense(torch.float32)
        added = layer.delta() if adapted else torch.zeros_like(held)
        if kind == "gpt2":
            held, added = held.t(), added.t()
        assert original[name].weight.shape == weight.shape
        assert torch.equal(original[name].weight, weight + added)
        assert torch.equal(dequantised[name].weight, held + added)
        assert not torch.allclose(held, weight, atol=1e-4)


def test_other_weights_than_those_that_were_trained_on_are_not_merged_into(tmp_path):
    folder = tiny.model_folder(tmp_path / "base")
    source = ModelSource(name=str(folder))
    method = qlora(merge_base="original")
    model = method.attach(load_model(source, locate(source), seed=0), seed=0)
    tiny.model_folder(folder, seed=1)
    with pytest.raises(ModelError, match="is not what this adapter was trained on"):
        method.merged(model)
    with pytest.raises(ModelError, match="does not say where its weights lie"):
        method.merged(method.attach(tiny.model("llama"), seed=0))


@pytest.mark.parametrize("kind", ["adamw", "adamw8bit", "paged_adamw8bit"])
def test_the_optimizer_is_the_one_named(kind):
    trained = run_training(qlora(optimizer=kind), tiny.model("llama"), tiny.rows(12), budget={"steps": 20})
    name = trained.session.optimizer()[0]["optimizer"]
    paged = kind == "paged_adamw8bit" and torch.cuda.is_available()
    assert name == ("AdamW" if kind == "adamw" else "PagedAdamW8bit" if paged else "AdamW8bit")
    assert trained.records.losses[-1] < trained.records.losses[0]


def test_a_device_without_4_bit_is_refused_before_the_model_is_loaded(monkeypatch):
    def refuse(device):
        raise ConfigError(f"4 bit (nf4) on {device}: no")

    monkeypatch.setattr(loading, "require_nf4", refuse)
    monkeypatch.setattr(loading, "load_model", lambda *args, **options: pytest.fail("the model was loaded"))
    with pytest.raises(ConfigError, match="4 bit"):
        loading.open_session(tiny.run_config(), qlora(), located=None, text=None, notes=[])


def test_saved_configuration_is_pefts_and_one_key_more(tmp_path):
    method = qlora("gpt2")
    method.save(method.attach(tiny.model("gpt2"), seed=0), tmp_path)
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    known = set(peft.LoraConfig.__dataclass_fields__)
    assert set(saved) - known == {"tunelab_method"}
    assert saved["fan_in_fan_out"] is False, "codes lie as nn.Linear's weight does"
