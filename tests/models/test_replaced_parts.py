"""Parts of a model that are replaced while a context lasts: which, and that they are back."""

import pytest
import torch
from transformers.masking_utils import sdpa_mask

from models.test_generation import model_of
from tunelab.models.replaced_parts import NotReplaced, ReplacedAttention, ReplacedParts, gelus
from tunelab.models.shared_attention import Attending


def zeros(module, query, *rest, **options):
    return torch.zeros_like(query.transpose(1, 2)), None


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(5)[None] + 3).logits


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3"])
def test_another_attention_is_put_in_and_taken_away(kind):
    model = model_of(kind)
    before, replaced = logits(model), ReplacedAttention(model.modules(), "zeros_of_a_test", zeros, sdpa_mask)
    assert replaced
    replaced.put()
    assert not torch.allclose(logits(model), before)
    replaced.take_away()
    assert logits(model).equal(before)


def test_attention_that_is_not_sdpa_stays(monkeypatch):
    model = model_of("llama")
    monkeypatch.setattr(model.config, "_attn_implementation", "eager")
    assert not ReplacedAttention(model.modules(), "zeros_of_a_test", zeros, sdpa_mask)
    with pytest.raises(NotReplaced, match="not transformers' sdpa"):
        Attending(model)


def test_gelu_is_replaced_where_it_is_the_tanh_form():
    gelu = ReplacedParts(gelus(model_of("gpt2").modules()))
    own = [each.owner for each in gelu.found]
    assert len(own) == len([name for name, _ in model_of("gpt2").named_modules() if name.endswith("mlp")])
    x = torch.linspace(-5, 5, 101)
    expected = own[0](x)
    gelu.put()
    assert own[0].forward.__name__ == "_gelu_tanh"
    torch.testing.assert_close(own[0](x), expected)
    gelu.take_away()
    assert own[0](x).equal(expected) and not gelus(model_of("llama").modules())


def test_all_of_it_is_back_after_an_error():
    model = model_of("gpt2")
    attending = Attending(model)
    with pytest.raises(KeyError), attending.attending():
        assert model.config._attn_implementation != "sdpa"
        raise KeyError
    assert model.config._attn_implementation == "sdpa"
    assert all("forward" not in vars(each.owner) for each in attending.gelu.found)
