"""Methods that save a whole model: what they train is what their files hold."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, GPTNeoXConfig, MarianConfig, MixtralConfig

import tiny
from training_harness import run_training
from tunelab.errors import ModelError
from tunelab.methods.apollo import Apollo
from tunelab.methods.full import Full
from tunelab.methods.galore import Galore
from tunelab.methods.lisa import Lisa
from tunelab.methods.q_galore import QGalore

METHODS = [Full(), Lisa(layers=1, period=1), Galore(rank=4), QGalore(rank=4, projector="random"), Apollo(rank=4)]
POSITIONS = "model.decoder.embed_positions.weight"


def marian():
    """Its sinusoidal positions are a parameter that transformers neither saves nor reads."""
    sizes = dict(vocab_size=tiny.VOCABULARY, d_model=32, encoder_layers=1, decoder_layers=1, max_position_embeddings=64)
    heads = dict(encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48)
    ids = dict(pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, forced_eos_token_id=None)
    torch.manual_seed(0)
    return AutoModelForSeq2SeqLM.from_config(MarianConfig(**sizes, **heads, **ids, dropout=0.0)).eval()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_a_parameter_that_no_file_holds_is_not_trained(method):
    before = marian().get_parameter(POSITIONS).detach().clone()
    trained = run_training(method, marian(), tiny.rows(12, pairs=True), budget={"steps": 2}).model
    assert trained.get_parameter(POSITIONS).equal(before)
    head = trained.get_parameter("model.shared.weight")
    assert not head.equal(marian().get_parameter("model.shared.weight")), "the others are"


def test_weights_without_such_a_parameter_are_read(tmp_path):
    method = Full()
    trained = run_training(method, marian(), tiny.rows(12, pairs=True), budget={"steps": 2}).model
    method.save(trained, tmp_path)
    again = method.attach(marian(), seed=0)
    method.load(again, tmp_path)
    for name, value in trained.named_parameters():
        assert again.get_parameter(name).equal(value), name


NAMED_OTHERWISE = {
    "a head called embed_out": GPTNeoXConfig(tie_word_embeddings=False),
    "a matrix an expert": MixtralConfig(num_key_value_heads=2, num_local_experts=2),
}
"""What files of the architecture hold in place of what its model has in memory."""


@pytest.mark.parametrize("config", NAMED_OTHERWISE.values(), ids=NAMED_OTHERWISE)
def test_weights_that_transformers_names_otherwise_in_files_are_read(tmp_path, config):
    sizes = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0)
    config.update({**sizes, "vocab_size": tiny.VOCABULARY, "bos_token_id": 1, "eos_token_id": 1})
    saved, other = (AutoModelForCausalLM.from_config(config) for _ in range(2))
    method = Full()
    method.save(saved, tmp_path)
    method.load(other, tmp_path)
    for name, value in saved.named_parameters():
        assert other.get_parameter(name).equal(value), name


def test_weights_of_another_model_are_refused(tmp_path):
    Full().save(tiny.model("llama", num_hidden_layers=1), tmp_path)
    with pytest.raises(ModelError, match=r"weights of another model \(missing \['model.layers.1"):
        Full().load(tiny.model("llama"), tmp_path)
