"""Builds tokenizers and config files of the two embedded models: `python scripts/build_tokenizers.py OUT`.

OUT is what pretraining_corpus.py has laid out; OUT/causal and OUT/seq2seq are written. The result depends on that text
alone. Other text changes the token ids, so the weights must then be pretrained again.
"""

import argparse
import json
import string
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, LlamaConfig, PreTrainedTokenizerFast, T5Config
from transformers import PreTrainedConfig as Config

from tunelab.data.synthetic import pretraining

PAD, END = "<|pad|>", "<|end|>"
ROLES = ("<|user|>", "<|assistant|>", "<|system|>")
SENTINELS = tuple(f"<extra_id_{number}>" for number in range(24))
"""As pretraining_corpus.py puts in the place of spans."""
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)

# One digit a piece, so that numbers are read place by place. A line break is a piece of its own, so that the tokens of
# a prompt that ends in one do not depend on what follows it.
PIECES = Regex(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\n|[^\S\n]+(?!\S)|[^\S\n]+")

VOCABULARY, PAIRS = 4096, 20_000


def texts(corpus: Path) -> Iterator[str]:
    """Pretraining text; pairs once more, for the words of records; and all of printable ASCII, so that its characters
    are known at word starts too."""
    with (corpus / "train.jsonl").open(encoding="utf-8") as file:
        yield from (json.loads(line)["text"] for line in file)
    yield from (f"{pair['source']}\n{pair['target']}" for pair in islice(pretraining.iterate_pairs(seed=0), PAIRS))
    yield "\n".join(f"{first} {second}" for first in string.printable for second in string.printable)


def train(corpus: Path, *, special_tokens: list[str]) -> Tokenizer:
    """A byte-level BPE tokenizer; every byte is in the alphabet, so any text comes back as it was."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(PIECES, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special_tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(corpus), trainer)
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path, *, roles: tuple[str, ...], max_length: int) -> None:
    """tokenizer.json and tokenizer_config.json; no sequence gets a begin or end token by itself."""
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(roles),
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )
    if set(ROLES) <= set(roles):
        wrapped.chat_template = CHAT_TEMPLATE
    wrapped.save_pretrained(folder, save_jinja_files=False)


def causal_config() -> LlamaConfig:
    """A Llama of 4.0 million parameters."""
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
        architectures=["LlamaForCausalLM"],
    )


def seq2seq_config() -> T5Config:
    """A T5 of about 2.9 million parameters; sizes are multiples of 64, as block-wise quantisation likes them."""
    return T5Config(
        vocab_size=VOCABULARY,
        d_model=128,
        d_kv=32,
        d_ff=512,
        num_layers=4,
        num_decoder_layers=4,
        num_heads=4,
        relative_attention_num_buckets=32,
        relative_attention_max_distance=128,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        architectures=["T5ForConditionalGeneration"],
    )


def num_parameters(config: Config) -> int:
    """Parameters of the model, tied ones once."""
    build = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    return sum(parameter.numel() for parameter in build.from_config(config).parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    for name, config, roles in (("causal", causal_config(), ROLES), ("seq2seq", seq2seq_config(), SENTINELS)):
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = train(out, special_tokens=[PAD, END, *roles])
        save(tokenizer, folder, roles=roles, max_length=1024)
        config.save_pretrained(folder)
        print(f"{folder}: {tokenizer.get_vocab_size()} tokens, {num_parameters(config):,} parameters")


if __name__ == "__main__":
    main()
