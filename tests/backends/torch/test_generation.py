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
        folded(tiny.model("llama"), Broken(), [])
