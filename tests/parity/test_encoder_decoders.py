"""Encoder-decoders of six families: losses are transformers' own on the tokenizer's own labels, and texts its texts.

Each has a random model of its architecture and a tokenizer that writes labels as that family's does.
"""

import copy

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSeq2SeqLM,
    BartConfig,
    M2M100Config,
    MarianConfig,
    MBartConfig,
    PegasusConfig,
    PreTrainedTokenizerFast,
    T5Config,
)

import tiny
from tunelab.backends.torch.loading import _set_decoder_start
from tunelab.backends.torch.session import TorchSession
from tunelab.config.schema import Generation
from tunelab.data.tokens.batching import micro_batches
from tunelab.data.tokens.tokenise import Tokeniser, tokenise
from tunelab.records import Example, TextSide

PAD, END, START, LANGUAGE = 0, 1, 2, 3
WORDS = "the mill stands by river people walk to market bread fish and apples who lives there".split()
SIZES = {
    "vocab_size": 40, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64,
    "pad_token_id": PAD, "eos_token_id": END, "bos_token_id": START,
}  # fmt: skip
T5 = T5Config(
    vocab_size=40, d_model=32, d_kv=16, d_ff=48, num_layers=1, num_heads=2, decoder_start_token_id=PAD,
    pad_token_id=PAD, eos_token_id=END,
)  # fmt: skip
FAMILIES = {
    "t5": (T5, "$A </s>"),
    "bart": (BartConfig(**SIZES, decoder_start_token_id=END, forced_bos_token_id=START), "<s> $A </s>"),
    "mbart": (MBartConfig(**SIZES), "$A </s> en_XX"),
    "nllb": (M2M100Config(**SIZES, decoder_start_token_id=END), "en_XX $A </s>"),
    "pegasus": (PegasusConfig(**SIZES, decoder_start_token_id=PAD), "$A </s>"),
    "marian": (MarianConfig(**SIZES, decoder_start_token_id=PAD), "$A </s>"),
}


def tokenizer_of(template: str) -> PreTrainedTokenizerFast:
    names = ["<pad>", "</s>", "<s>", "en_XX", "<unk>", *WORDS]
    words = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [("</s>", END), ("<s>", START), ("en_XX", LANGUAGE)]
    words.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", bos_token="<s>", unk_token="<unk>",
        additional_special_tokens=["en_XX"],
    )  # fmt: skip


def example(number: int) -> Example:
    rng = np.random.default_rng(number)
    prompt, target = (" ".join(rng.choice(WORDS, size=rng.integers(3, 9))) for _ in range(2))
    return Example(str(number), prompt, target, (target,))


EXAMPLES = [example(number) for number in range(7)]


@pytest.fixture(params=FAMILIES)
def family(request):
    config, template = copy.deepcopy(FAMILIES[request.param])
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(config).eval()
    tokenizer, notes = tokenizer_of(template), []
    _set_decoder_start(model, TextSide(tokenizer, True), notes)
    assert bool(notes) == (request.param == "mbart"), "only mBART's configuration says nothing"
    return model, tokenizer


def test_losses_equal_transformers_on_the_tokenizers_own_labels(family):
    model, tokenizer = family
    rows = tokenise(EXAMPLES, tokenizer, max_length=32, encoder_decoder=True, split="test").rows
    session = TorchSession(model.requires_grad_(False), None, tiny.run_config(), tokenizer, [])
    found = session.evaluate(micro_batches(rows, max_tokens=60))
    for one, loss in zip(EXAMPLES, found, strict=True):
        given = tokenizer([one.prompt], text_target=[one.target], return_tensors="pt")
        expected = model(
            input_ids=given["input_ids"], attention_mask=given["attention_mask"], labels=given["labels"]
        ).loss
        assert loss.num_tokens == given["labels"].numel()
        assert loss.loss_sum / loss.num_tokens == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("beams", [1, 3])
def test_texts_equal_transformers_generate(family, beams):
    """Given what transformers itself has to be told of a family: the language that a text begins with."""
    model, tokenizer = family
    session = TorchSession(model.requires_grad_(False), None, tiny.run_config(), tokenizer, [])
    prompts = list(Tokeniser(tokenizer, max_length=32, encoder_decoder=True, split="test").prompts(EXAMPLES))
    settings = Generation(max_new_tokens=9, beams=beams)
    found = session.generate(prompts, settings, progress=lambda decoded: None)
    labels = tokenizer(text_target=["the mill"])["input_ids"][0]
    forced = labels[0] if labels[0] in (START, LANGUAGE) else None
    for one, ids in zip(EXAMPLES, found, strict=True):
        given = tokenizer([one.prompt], return_tensors="pt")
        (out,) = model.generate(
            **{key: given[key] for key in ("input_ids", "attention_mask")},
            max_new_tokens=9, num_beams=beams, do_sample=False, forced_bos_token_id=forced, forced_eos_token_id=None,
        )  # fmt: skip
        text = tokenizer.decode(out[1:], skip_special_tokens=True)
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
