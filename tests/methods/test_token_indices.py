"""Rows of single tokens trained beside LoRA, PEFT's `trainable_token_indices`: both ways, merged, what is refused."""

import peft
import pytest
import torch

import tiny
from training_harness import run_training
from tunelab.errors import ConfigError
from tunelab.methods.lora import Lora
from tunelab.study.planning.plan import recognise

KINDS = {
    "tied": lambda: tiny.model("llama"),
    "apart": lambda: tiny.model("llama", tie_word_embeddings=False),
    "gpt2": lambda: tiny.model("gpt2"),
    "t5": lambda: tiny.model("t5"),
}
IDS = [3, 7, 5]


def logits(model, kind):
    ids = torch.arange(2, 14).reshape(2, 6)
    extra = {"decoder_input_ids": ids} if kind == "t5" else {}
    with torch.no_grad():
        return model.eval()(input_ids=ids, **extra).logits


def of_peft(kind, indices):
    task = "SEQ_2_SEQ_LM" if kind == "t5" else "CAUSAL_LM"
    config = peft.LoraConfig(r=4, target_modules=r".*", task_type=task, trainable_token_indices=indices)
    config.target_modules = {"gpt2": ["c_attn"], "t5": ["q"]}.get(kind, ["q_proj"])
    model = peft.get_peft_model(KINDS[kind](), config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "trainable_tokens_delta" in name:
                parameter.normal_(std=0.1, generator=generator)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_pefts_adapter_is_read(kind, tmp_path):
    reference = of_peft(kind, IDS)
    reference.save_pretrained(tmp_path, save_embedding_layers=False)
    name, method = recognise(tmp_path)
    assert name == "lora" and method.trainable_token_indices
    model = method.attach(KINDS[kind](), seed=9)
    method.load(model, tmp_path)
    assert torch.allclose(logits(model, kind), logits(reference, kind), atol=1e-5)
    assert not torch.allclose(logits(model, kind), logits(KINDS[kind](), kind), atol=1e-2)


def test_of_a_head_of_its_own_too(tmp_path):
    reference = of_peft("apart", {"embed_tokens": IDS, "lm_head": [4]})
    reference.save_pretrained(tmp_path, save_embedding_layers=False)
    _, method = recognise(tmp_path)
    model = method.attach(KINDS["apart"](), seed=9)
    method.load(model, tmp_path)
    assert torch.allclose(logits(model, "apart"), logits(reference, "apart"), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_ours_moves_these_rows_alone_and_is_read_by_peft_and_merged(kind, tmp_path):
    method = Lora(rank=4, trainable_token_indices=tuple(IDS), learning_rate=1e-2)
    before = KINDS[kind]().get_input_embeddings().weight
    model = run_training(method, KINDS[kind](), tiny.rows(18, pairs=kind == "t5"), budget={"steps": 3}).model
    after = model.get_input_embeddings().weight
    moved = {number for number in range(len(before)) if not before[number].equal(after[number])}
    assert moved == set(IDS)
    wanted = logits(model, kind)
    method.save(model, tmp_path)
    assert torch.allclose(logits(peft.PeftModel.from_pretrained(KINDS[kind](), tmp_path), kind), wanted, atol=1e-5)
    assert torch.allclose(logits(method.merged(model), kind), wanted, atol=1e-5)
    _, again = recognise(tmp_path)
    read = again.attach(KINDS[kind](), seed=9)
    again.load(read, tmp_path)
    assert torch.allclose(logits(read, kind), wanted, atol=1e-5)


def test_beside_norms_each_is_known_by_its_name(tmp_path):
    method = Lora(rank=4, also=("norms",), trainable_token_indices=(3,), learning_rate=1e-2)
    model = run_training(method, tiny.model("llama"), tiny.rows(18), budget={"steps": 3}).model
    method.save(model, tmp_path)
    _, again = recognise(tmp_path)
    assert all("norm" in path for path in again.also) and again.also
    read = again.attach(tiny.model("llama"), seed=9)
    again.load(read, tmp_path)
    assert torch.allclose(logits(read, "tied"), logits(model, "tied"), atol=1e-6)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"trainable_token_indices": (96,)}, "96 is no token of 'model.embed_tokens', which has rows 0 to 95"),
        ({"trainable_token_indices": {"embed_tokens": ()}}, "name one token at least, and each once"),
        ({"trainable_token_indices": (3, 3)}, "name one token at least, and each once"),
        ({"trainable_token_indices": {"q_proj": (3,)}}, "'q_proj' is neither the embedding nor the output head"),
        ({"trainable_token_indices": (3,), "also": ("embeddings",)}, "are trained already"),
        ({"trainable_token_indices": {"embed_tokens": (3,), "lm_head": (4,)}}, "are trained already"),
    ],
)
def test_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        Lora(rank=4, **options).attach(tiny.model("llama"), seed=0)


def test_one_matrix_by_both_of_its_names():
    named = {"embed_tokens": (3, 5), "lm_head": (3, 5)}
    model = Lora(rank=4, trainable_token_indices=named).attach(tiny.model("llama"), seed=0)
    assert sum(name.endswith(".rows") for name, _ in model.named_parameters()) == 1
