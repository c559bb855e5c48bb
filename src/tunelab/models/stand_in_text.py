"""Tokenizers of stand-ins: the pieces of an embedded model under the special tokens and chat form of a family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tunelab.models.configurations import EMBEDDED

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class Marks(NamedTuple):
    """A family's special tokens. None: it has none."""

    start: str | None
    end: str
    padding: str | None
    starts: bool
    """Its tokenizer puts the start token before every text."""


WORDS_ONLY = Marks("<|endoftext|>", "<|endoftext|>", None, False)
FAMILIES = {
    "gpt": WORDS_ONLY,
    "qwen": Marks(None, "<|endoftext|>", "<|endoftext|>", False),
    "gemma": Marks("<bos>", "<eos>", "<pad>", True),
    "t5": Marks(None, "</s>", "<pad>", False),
}
"""By the beginning of the model type."""
OTHERS = Marks("<s>", "</s>", None, True)
"""LLaMA and what follows it."""

CHAT_MARKS = {"gemma": ("<start_of_turn>", "<end_of_turn>")}
OTHER_CHAT_MARKS = ("<|im_start|>", "<|im_end|>")
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{{ first if loop.first else '' }}{{ message['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
OTHER_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tokenizer(config: PretrainedConfig, folder: Path, *, instructed: bool) -> None:
    """Write the tokenizer into `folder`; the configuration gets its ids and the size of its vocabulary.

    An instruction model's has a chat template of the family's form, and ends a turn by the family's token.
    """
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    family = next((name for name in FAMILIES if config.model_type.startswith(name)), "")
    marks = FAMILIES.get(family, OTHERS)
    turn_start, turn_end = CHAT_MARKS.get(family, OTHER_CHAT_MARKS)
    embedded = EMBEDDED["tunelab/tiny-seq2seq" if config.is_encoder_decoder else "tunelab/tiny"]
    names = {"<|pad|>": marks.padding, "<|end|>": marks.end, "<|user|>": marks.start}
    names |= {"<|assistant|>": turn_start, "<|system|>": turn_end} if instructed else {}
    tokenizer = Tokenizer.from_str(_renamed((embedded / "tokenizer.json").read_text(encoding="utf-8"), names))
    end, start = tokenizer.token_to_id(marks.end), marks.start and tokenizer.token_to_id(marks.start)
    if config.is_encoder_decoder:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {marks.end}", special_tokens=[(marks.end, end)]
        )
    elif marks.starts:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{marks.start} $A", special_tokens=[(marks.start, start)]
        )
    ends_turns = instructed and family != "gemma"  # whose end token stays, with the end of a turn beside it
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=marks.start,
        eos_token=turn_end if ends_turns else marks.end,
        pad_token=marks.padding,
        model_max_length=getattr(config, "max_position_embeddings", None) or 1024,
        clean_up_tokenization_spaces=False,
    )
    if instructed:
        wrapped.chat_template = GEMMA_TEMPLATE if family == "gemma" else OTHER_TEMPLATE
    wrapped.save_pretrained(folder)
    config.vocab_size = len(wrapped)
    config.bos_token_id, config.eos_token_id = wrapped.bos_token_id, wrapped.eos_token_id
    config.pad_token_id = wrapped.pad_token_id
    if config.is_encoder_decoder and config.model_type.endswith("t5"):
        config.decoder_start_token_id = wrapped.pad_token_id


def _renamed(text: str, names: dict[str, str | None]) -> str:
    """A tokenizer.json with special tokens under other names; None keeps the name, as does one that is taken."""
    content = json.loads(text)
    vocabulary = content["model"]["vocab"]
    for entry in content["added_tokens"]:
        name = names.get(entry["content"])
        if name is not None and name not in vocabulary:
            vocabulary[name] = vocabulary.pop(entry["content"])
            entry["content"] = name
    return json.dumps(content, ensure_ascii=False)
