"""peft_any and dora on weights that several layers share, fused layers, experts and a quantised base: what is trained
is what is saved, generated from, merged and exported; or it is refused in a line."""

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, BartConfig, Phi3Config

import tiny
import tunelab
from training_harness import run_training
from tunelab.config.schema import Generation
from tunelab.errors import ConfigError
from tunelab.export.export import export
from tunelab.models.quantise import quantise_model
from tunelab.study.executing.saved import find_saved, open_saved
from tunelab.study.planning.plan import build_method, recognise

FUSED = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def phi3():
    torch.manual_seed(0)
    sizes = dict(vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    ends = dict(pad_token_id=0, bos_token_id=1, eos_token_id=1, num_key_value_heads=2)
    return AutoModelForCausalLM.from_config(Phi3Config(**sizes, **ends, max_position_embeddings=256)).eval()


def bart():
    torch.manual_seed(0)
    sizes = dict(vocab_size=96, d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=64, decoder_ffn_dim=64)
    heads = dict(encoder_attention_heads=4, decoder_attention_heads=4, max_position_embeddings=256, dropout=0.0)
    ends = dict(pad_token_id=0, eos_token_id=1, bos_token_id=2, decoder_start_token_id=1)
    return AutoModelForSeq2SeqLM.from_config(BartConfig(**sizes, **heads, **ends)).eval()


def shared_block():
    """As ALBERT computes: one block, used twice."""
    model = tiny.model("llama")
    model.model.layers[1] = model.model.layers[0]
    return model


def shared_layer():
    """One layer below two blocks: an adapter is found at its first place alone."""
    model = tiny.model("llama")
    model.model.layers[1].self_attn.q_proj = model.model.layers[0].self_attn.q_proj
    return model


def shared_weight():
    """Two layers over one parameter."""
    model = tiny.model("llama")
    model.model.layers[1].self_attn.q_proj.weight = model.model.layers[0].self_attn.q_proj.weight
    return model


MODELS = {kind: (lambda kind=kind: tiny.model(kind)) for kind in ("llama", "gpt2", "t5", "moe")}
MODELS |= {make.__name__: make for make in (phi3, bart, shared_block, shared_layer, shared_weight)}


def peft(*modules: str, **options):
    return "peft_any", {"type": "LORA", "r": 4, **({"target_modules": list(modules)} if modules else {}), **options}


DORA, TYING = ("dora", {"rank": 4}), {"ensure_weight_tying": True}
CASES = {
    "tied head": ("llama", peft("lm_head")),
    "tied embedding": ("llama", peft("embed_tokens")),
    "tied head and embedding": ("llama", peft("lm_head", "embed_tokens")),
    "tied adapters": ("llama", peft("lm_head", "embed_tokens", **TYING)),
    "tied, dora of the embedding": ("llama", peft("embed_tokens", use_dora=True)),
    "tied, saved whole": ("llama", peft("q_proj", modules_to_save=["lm_head"])),
    "tied, tokens": ("llama", ("peft_any", {"type": "TRAINABLE_TOKENS", "token_indices": [3, 4, 5]})),
    "tied, dora": ("llama", DORA),
    "tied gpt2": ("gpt2", peft("wte", "c_attn")),
    "tied t5 embeddings": ("t5", peft("embed_tokens")),
    "tied t5 head": ("t5", peft("lm_head", "q")),
    "tied bart": ("bart", peft("embed_tokens", "lm_head")),
    "bart, dora": ("bart", DORA),
    "fused c_attn": ("gpt2", peft(targets=("c_attn",))),
    "fused c_attn, dora": ("gpt2", ("dora", {"rank": 4, "targets": ("c_attn",)})),
    "fused qkv_proj": ("phi3", peft("qkv_proj", "gate_up_proj")),
    "fused qkv_proj, dora": ("phi3", DORA),
    "experts": ("moe", peft(target_parameters=FUSED)),
    "experts and router alone": ("moe", peft(target_modules=[], target_parameters=[FUSED[1], "mlp.gate.weight"])),
    "experts left out, dora": ("moe", ("dora", {"rank": 4, "targets": ".*"})),
}
OVER_SHARED = {"lora by peft": peft(), "dora": DORA, "lora": ("lora", {"rank": 4}), "rosa": ("rosa", {})}
for shared in ("shared_block", "shared_layer", "shared_weight"):
    CASES |= {f"{shared}, {name}": (shared, how) for name, how in OVER_SHARED.items()}


def logits(model) -> torch.Tensor:
    ids = torch.arange(2, 14).reshape(2, 6)
    extra = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        return model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids), **extra).logits


def texts(session) -> list[list[int]]:
    prompts = [np.array([5, 6, 7, 8], dtype=np.int32), np.array([9, 4], dtype=np.int32)]
    return session.generate(prompts, Generation(max_new_tokens=8, min_new_tokens=8), progress=lambda decoded: None)


@pytest.mark.parametrize("case", CASES)
def test_trained_is_saved_generated_from_and_merged(case, tmp_path):
    kind, (name, options) = CASES[case]
    method, start = build_method(name, {"learning_rate": 2e-2, **options}), MODELS[kind]()
    trained = run_training(method, start, tiny.rows(12, pairs=start.config.is_encoder_decoder), budget={"steps": 3})
    model, session, before = trained.model, trained.session, logits(trained.model)
    assert (before - logits(MODELS[kind]())).abs().max() > 1e-3, "nothing was learned: the test proves nothing"

    method.save(model, tmp_path)
    loaded = method.attach(MODELS[kind](), seed=5)
    method.load(loaded, tmp_path)
    assert logits(loaded).equal(before)

    merged = method.merged(model)
    assert (logits(merged) - before).abs().max() < 1e-5
    assert logits(model).equal(before), "merging changed the model that was given"

    if kind == "shared_block":
        return  # a cache of keys and values tells blocks apart by their number, and this one has one for two
    found = texts(session)
    assert session.plain_model() is not model and session.notes == [], "it was folded, and equals what was trained"
    session._generator = model
    assert texts(session) == found


@pytest.mark.parametrize("method", [peft(), DORA], ids=["peft_any", "dora"])
def test_a_base_that_is_held_in_4_bits_is_refused_in_a_line(method):
    name, options = method
    with pytest.raises(ConfigError, match="cannot be used on this model: Target module Nf4Linear") as told:
        build_method(name, options).attach(quantise_model(tiny.model("llama")), seed=0)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_the_holder_of_tied_embeddings_that_computes_nothing_is_refused(kind):
    method = build_method(*peft("shared", "q" if kind == "t5" else "q_proj"))
    with pytest.raises(ConfigError, match="embed_tokens computes with them"):
        method.attach(MODELS[kind](), seed=0)


def test_dora_of_a_tied_head_is_refused_with_what_there_is():
    with pytest.raises(ConfigError, match="no linear layer is named 'lm_head'; there are q_proj"):
        build_method("dora", {"targets": ("lm_head",)}).attach(tiny.model("llama"), seed=0)


def test_adapters_of_experts_are_known_without_their_run(tmp_path):
    name, options = peft(target_modules=[], target_parameters=FUSED)
    method = build_method(name, {"learning_rate": 1e-2, **options})
    model = run_training(method, tiny.model("moe"), tiny.rows(), budget={"steps": 2}).model
    method.save(model, tmp_path)
    found, known = recognise(tmp_path)
    assert found == "peft_any"
    again = known.attach(tiny.model("moe"), seed=5)
    known.load(again, tmp_path)
    assert logits(again).equal(logits(model))


EXPORTED = {
    "llama": [peft("embed_tokens"), peft("lm_head"), DORA],
    "gpt2": [peft("c_attn"), DORA],
    "moe": [peft(target_parameters=FUSED)],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", EXPORTED)
def test_merged_exports_compute_what_was_trained_in_plain_transformers(kind, tmp_path):
    study = {
        "name": "shared",
        "model": str(tiny.model_folder(tmp_path / "model", kind)),
        "tasks": [{"name": "restaurants", "train_rows": 16, "validation_rows": 4, "test_rows": 4}],
        "methods": [{name: {"learning_rate": 2e-2, **options}} for name, options in EXPORTED[kind]],
        "seeds": [0],
        "budget": {"steps": 3},
        "batch": {"examples": 4, "max_length": 64},
        "generation": {"max_new_tokens": 4},
        "precision": "fp32",
        "threads": 1,
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    assert tunelab.run(tmp_path / "study.yaml", out=tmp_path / "out", cluster="in-process").num_failed == 0
    runs = [run for run in (tmp_path / "out" / "runs").iterdir() if not run.name.startswith("base")]
    assert len(runs) == len(EXPORTED[kind])
    for number, run in enumerate(runs):
        export(run, tmp_path / f"plain{number}", merge=True)
        saved = find_saved(str(run))
        trained = logits(open_saved(saved, saved.run).session.model)
        plain = logits(AutoModelForCausalLM.from_pretrained(tmp_path / f"plain{number}"))
        torch.testing.assert_close(plain, trained, atol=1e-5, rtol=1e-5)
