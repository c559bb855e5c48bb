"""Weights that are merged: what is tied in memory, and what must not be when it is read again."""

import torch
from transformers import AutoModelForSeq2SeqLM, BartConfig

from tunelab.export.merge import _untie


def test_with_a_head_of_its_own_every_embedding_is_read_as_it_was(tmp_path):
    """BART's encoder and decoder share one tensor, which one name holds as long as all is tied."""
    sizes = dict(d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=48, decoder_ffn_dim=48, vocab_size=40)
    heads = dict(encoder_attention_heads=2, decoder_attention_heads=2, max_position_embeddings=32)
    model = AutoModelForSeq2SeqLM.from_config(BartConfig(**sizes, **heads)).eval()
    model.lm_head.weight = torch.nn.Parameter(torch.randn(40, 32))
    inputs = {"input_ids": torch.arange(4, 12)[None], "decoder_input_ids": torch.arange(3, 9)[None]}
    with torch.no_grad():
        before = model(**inputs).logits
        _untie(model)
        model.save_pretrained(tmp_path)
        again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
        assert torch.allclose(again(**inputs).logits, before, atol=1e-5)
        assert torch.allclose(model(**inputs).logits, before, atol=1e-5)
