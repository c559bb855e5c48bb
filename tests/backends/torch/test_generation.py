"""The weights that generate: exact sums in fp32, whatever the run's precision."""

import numpy as np
import pytest
import torch

import tiny
from training_harness import make_session
from tunelab.backends.torch.generation import folded
from tunelab.config.schema import Generation
from tunelab.kernels.adapted_linear import adapted_layers
from tunelab.methods.lora import Lora
from tunelab.methods.peft_any import PeftAny
from tunelab.methods.qlora import Qlora


def small_update(precision: str):
    """LoRA whose update is far below the rounding of bf16 weights."""
    session = make_session(Lora(rank=2), tiny.model("llama"), precision=precision)
    with torch.no_grad():
        for layer in adapted_layers(session.model).values():
            layer.lora_B.fill_(1e-6)
    return session


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_adapters_are_folded_into_fp32_and_a_small_update_stays(precision):
    session = small_update(precision)
    plain = session.plain_model()
    assert {parameter.dtype for parameter in plain.parameters()} == {torch.float32}
    for name, layer in adapted_layers(session.model).items():
        base, weight = layer.base.weight, plain.get_submodule(name).weight
        assert weight.equal(base.float() + layer.delta())
        lost = (base.float() + layer.delta()).to(torch.bfloat16).float() - base.to(torch.bfloat16).float()
        assert (weight - base.float()).abs().min() > 0
        assert (lost == 0).float().mean() > 0.9, "this update would survive in bf16: the test shows nothing"
    assert session.model is not plain and session.plain_model() is plain


def test_folded_weights_say_what_the_adapters_say():
    session = small_update("fp32")
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        through, plain = session.model(input_ids=ids).logits, session.plain_model()(input_ids=ids).logits
    assert (through - plain).abs().max() < 1e-5


def test_a_quantised_base_generates_as_it_is():
    session = make_session(Qlora(rank=2), tiny.model("llama"))
    assert session.plain_model() is session.model


def test_without_memory_for_a_copy_text_comes_through_the_adapters_and_the_notes_say_so():
    class Greedy(Lora):
        def merged(self, model):
            raise MemoryError

    session = make_session(Greedy(rank=2), tiny.model("llama"), precision="bf16")
    texts = session.generate(
        [np.array([5, 6, 7], dtype=np.int32)], Generation(max_new_tokens=3), progress=lambda decoded: None
    )
    assert len(texts) == 1
    assert session.plain_model() is session.model
    assert len([note for note in session.notes if "no memory for an fp32 copy" in note]) == 1


def test_another_error_of_merging_is_not_taken_for_memory():
    class Broken(Lora):
        def merged(self, model):
            raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        folded(tiny.model("llama"), Broken(), [], differs=lambda plain: 0.0, limit=1.0)


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_a_wrongly_folded_model_does_not_generate_and_the_notes_say_so(kind):
    class Wrong(Lora):
        def merged(self, model):
            plain = super().merged(model)
            with torch.no_grad():
                plain.get_output_embeddings().weight.mul_(1.1)
            return plain

    prompt = [np.array([5, 6, 7, 8], dtype=np.int32)]
    settings, ignore = Generation(max_new_tokens=6), lambda decoded: None
    sessions = [make_session(method(rank=2), tiny.model(kind)) for method in (Lora, Wrong)]
    right, wrong = (session.generate(prompt, settings, progress=ignore) for session in sessions)
    assert right == wrong and sessions[0].notes == []
    assert sessions[1].plain_model() is sessions[1].model
    (note,) = sessions[1].notes
    assert "folding the adapters into the weights changes what the model computes" in note


@pytest.mark.parametrize("layer", ["lm_head", "embed_tokens"])
@pytest.mark.parametrize("tying", [False, True], ids=["untied adapter", "tied adapter"])
def test_an_adapter_of_a_tied_weight_generates_as_the_trained_model_does(layer, tying):
    """PEFT merges it into the weight that both the head and the embedding have."""
    options = {"type": "LORA", "target_modules": [layer, "q_proj"], "r": 4, "ensure_weight_tying": tying}
    session = make_session(PeftAny(learning_rate=1e-3, **options), tiny.model("llama", tie_word_embeddings=True))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in session.model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    prompt = np.array([5, 6, 7, 8], dtype=np.int32)
    ids, expected = torch.tensor(prompt[None].astype(np.int64)), []
    with torch.no_grad():
        for _ in range(8):
            token = int(session.model(input_ids=ids).logits[0, -1].argmax())
            expected.append(token)
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
    settings = Generation(max_new_tokens=8, min_new_tokens=8)
    (found,) = session.generate([prompt], settings, progress=lambda decoded: None)
    assert found == expected
