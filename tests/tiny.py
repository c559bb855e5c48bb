"""Small random models and rows that tests train in a second. No pretrained weights, no network."""

from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    T5Config,
)

from tunelab.config.run import RunConfig
from tunelab.config.schema import ModelSource
from tunelab.models.load import EMBEDDED
from tunelab.records import TokenRow

VOCABULARY = 96


def llama(**changes) -> LlamaConfig:
    sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    rest = dict(num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=True)
    return LlamaConfig(**{**sizes, **rest, "vocab_size": VOCABULARY, "eos_token_id": 1, "pad_token_id": 0, **changes})


def gpt2(**changes) -> GPT2Config:
    sizes = dict(n_embd=32, n_layer=2, n_head=4, n_positions=256, vocab_size=VOCABULARY)
    drops = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    return GPT2Config(**{**sizes, **drops, "eos_token_id": 1, "bos_token_id": 1, "pad_token_id": 0, **changes})


def t5(**changes) -> T5Config:
    sizes = dict(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_decoder_layers=2, num_heads=4, vocab_size=VOCABULARY)
    rest = dict(feed_forward_proj="gated-gelu", dropout_rate=0.0, pad_token_id=0, eos_token_id=1)
    return T5Config(**{**sizes, **rest, "decoder_start_token_id": 0, **changes})


def moe(**changes) -> MixtralConfig:
    """Four experts, which transformers holds as two parameters of three dimensions a block: in no linear layer."""
    sizes = dict(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=VOCABULARY
    )
    rest = dict(num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=256)
    return MixtralConfig(**{**sizes, **rest, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0, **changes})


CONFIGS = {"llama": llama, "gpt2": gpt2, "t5": t5, "moe": moe}


def model(name: str, *, seed: int = 0, **changes):
    config = CONFIGS[name](**changes)
    torch.manual_seed(seed)
    automatic = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    return automatic.from_config(config).eval()


def model_folder(folder: Path, name: str = "llama", **changes) -> Path:
    """A saved random model with the embedded tokenizer, as a user's local folder would be."""
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED["tunelab/tiny-seq2seq" if name == "t5" else "tunelab/tiny"])
    model(name, vocab_size=len(tokenizer), **changes).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def rows(count: int = 12, *, pairs: bool = False, seed: int = 0, longest: int = 24) -> list[TokenRow]:
    """Rows of varied length: a prompt, a target that repeats some of it, an end token."""
    generator = np.random.default_rng(seed)
    made = []
    for number in range(count):
        prompt = generator.integers(2, VOCABULARY, size=generator.integers(2, longest // 2)).astype(np.int32)
        target = np.append(prompt[: generator.integers(1, len(prompt) + 1)][::-1], 1).astype(np.int32)
        if pairs:
            made.append(TokenRow(number, target, np.ones(len(target), dtype=bool), prompt))
        else:
            supervised = np.zeros(len(prompt) + len(target), dtype=bool)
            supervised[len(prompt) :] = True
            made.append(TokenRow(number, np.concatenate([prompt, target]), supervised))
    return made


class Tokenizer:
    """What a session needs of a tokenizer when rows are already ids."""

    eos_token_id, pad_token_id, bos_token_id = 1, 0, None

    def __call__(self, text=None, *, text_target=None, add_special_tokens: bool) -> dict[str, list[list[int]]]:
        """A token a text and, as T5's do, an end behind."""
        return {"input_ids": [[5, *([1] if add_special_tokens else [])] for _ in text or text_target]}

    def save_pretrained(self, folder: Path) -> None:
        pass


def run_config(**changes) -> RunConfig:
    facts = dict(
        id="test",
        backend="torch",
        task="none",
        task_options={},
        seed=0,
        method={"name": "full", "label": "full", "learning_rate": 1e-2},
        model=ModelSource(name="none"),
        model_revision="",
        data_revision="",
        budget={"steps": 20},
        batch={"examples": 6, "max_tokens": 4096},
        data={},
        precision="fp32",
        threads=1,
        activation_checkpointing=False,
        optimizer={},
        schedule={"kind": "constant", "warmup": 0},
        loss={},
        validation={"every": 1},
        generation={},
        checkpoint={"seconds": 1e9},
    )
    return RunConfig.model_validate({**facts, **changes})
