"""The animals: tiny random models of many families, each with a tokenizer and a template in its family's style."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from parity.zoo.tokenizers_of_families import byte_fallback, byte_level, two_languages, unigram, word_piece

_EACH, _END = "{% for message in messages %}", "{% endfor %}"
_SAID = (
    "{% if message['role'] == 'assistant' %}{% generation %}{{ SAID }}{% endgeneration %}"
    "{% else %}{{ SAID }}{% endif %}"
)


def _asked(header: str) -> str:
    return "{% if add_generation_prompt %}{{ '" + header + "' }}{% endif %}"


def _said(text: str) -> str:
    return _SAID.replace("SAID", text)


CHATML = (
    _EACH + "{{ '<|im_start|>' + message['role'] + '\n' }}" + _said("message['content'] + '<|im_end|>'")
    + "{{ '\n' }}" + _END + _asked("<|im_start|>assistant\\n")
)  # fmt: skip
QWEN = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}" + CHATML
)
LLAMA3 = (
    "{{ bos_token }}" + _EACH + "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    + _said("message['content'] | trim + '<|eot_id|>'") + _END
    + _asked("<|start_header_id|>assistant<|end_header_id|>\\n\\n")
)  # fmt: skip
LLAMA2 = (
    _EACH + "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}"
    "{% else %}{% generation %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endgeneration %}{% endif %}"
    + _END
)  # fmt: skip
MISTRAL = (
    "{{ bos_token }}" + _EACH
    + "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + '[/INST]' }}"
    "{% else %}{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}{% endif %}" + _END
)  # fmt: skip
GEMMA = (
    "{{ bos_token }}" + _EACH
    + "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' }}"
    + _said("message['content'] | trim + '<end_of_turn>'") + "{{ '\n' }}" + _END + _asked("<start_of_turn>model\\n")
)  # fmt: skip
ZEPHYR = (
    _EACH + "{{ '<|' + message['role'] + '|>\n' }}" + _said("message['content'] + eos_token") + "{{ '\n' }}"
    + _END + _asked("<|assistant|>\\n")
)  # fmt: skip
PHI3 = (
    _EACH + "{{ '<|' + message['role'] + '|>\n' }}" + _said("message['content'] + '<|end|>'") + "{{ '\n' }}" + _END
    + _asked("<|assistant|>\\n") + "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"
)  # fmt: skip


def unmarked(template: str) -> str:
    """As models bring it: transformers' mark of what the assistant says is for the tests alone."""
    return template.replace("{% generation %}", "").replace("{% endgeneration %}", "")


def gpt2_words() -> PreTrainedTokenizerFast:
    end = "<|endoftext|>"
    return byte_level([end], bos_token=end, eos_token=end, unk_token=end)


def opt_words() -> PreTrainedTokenizerFast:
    """A start token that is the end token too, in front of every text."""
    names = {"bos_token": "</s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "</s>"}
    return byte_level(["<pad>", "</s>"], template="</s> $A", **names)


def bloom_words() -> PreTrainedTokenizerFast:
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return byte_level([*names.values()], **names)


def llama2_words() -> PreTrainedTokenizerFast:
    return byte_fallback(["<unk>", "<s>", "</s>"], template="<s> $A", bos_token="<s>", eos_token="</s>")


def llama3_words() -> PreTrainedTokenizerFast:
    start, end = "<|begin_of_text|>", "<|end_of_text|>"
    special = [start, end, "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    return byte_level(special, template=f"{start} $A", bos_token=start, eos_token=end)


def qwen_words() -> PreTrainedTokenizerFast:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return byte_level(special, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def gemma_words() -> PreTrainedTokenizerFast:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    return byte_fallback(special, template="<bos> $A", bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")


def phi3_words() -> PreTrainedTokenizerFast:
    special = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"]
    return byte_level(special, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


def unigram_with_start() -> PreTrainedTokenizerFast:
    special = ["<unk>", "<s>", "</s>"]
    return unigram(special, template="<s> $A", bos_token="<s>", eos_token="</s>")


def t5_words() -> PreTrainedTokenizerFast:
    return unigram(["<pad>", "</s>", "<unk>"], template="$A </s>", pad_token="<pad>", eos_token="</s>")


def bart_words() -> PreTrainedTokenizerFast:
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return byte_level([*names.values()], template="<s> $A </s>", **names)


def nllb_words() -> PreTrainedTokenizerFast:
    special = ["<s>", "<pad>", "</s>", "<unk>", "eng_Latn"]
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"}
    return unigram(special, template="eng_Latn $A </s>", additional_special_tokens=["eng_Latn"], **names)


TURN_ENDS = ["<|eot_id|>", "<end_of_turn>", "<|end|>"]


class Animal(NamedTuple):
    kind: str
    """transformers' `model_type`."""
    words: Callable[[], PreTrainedTokenizerFast]
    sizes: dict[str, Any]
    """Of its configuration, beyond what all share."""
    template: str | None = None
    head: str = "lm_head"
    """The module that `peft_any` trains whole beside its adapter."""
    targets: str | list[str] = "all-linear"
    spare: int = 0
    """Rows of the embeddings that no token has."""
    without: tuple[str, ...] = ()
    """Methods that refuse it."""
    own_head: bool = False
    """A head of its own in the files, though transformers ties every T5 when it is made."""
    generates: dict[str, Any] = {}
    """What its authors' generation_config.json says beyond the special tokens."""

    @property
    def pairs(self) -> bool:
        return CONFIG_MAPPING[self.kind]().is_encoder_decoder


_LLAMA = dict(
    hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=256,
)  # fmt: skip
_GPT2 = dict(n_embd=32, n_layer=2, n_head=4, n_positions=256, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
_GPT = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=256)
_GEMMA = dict(**_LLAMA, head_dim=16)
_BART = dict(
    d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
    encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=256, dropout=0.0,
    attention_dropout=0.0, encoder_layerdrop=0.0, decoder_layerdrop=0.0,
)  # fmt: skip
_T5 = dict(d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2, dropout_rate=0.0)

CAUSAL = {
    "gpt2": Animal("gpt2", gpt2_words, dict(
        **_GPT2)),
    "gpt_neo": Animal("gpt_neo", gpt2_words, dict(
        hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], window_size=8,
        max_position_embeddings=256, resid_dropout=0.0, embed_dropout=0.0, attention_dropout=0.0)),
    "gpt_neox": Animal("gpt_neox", gpt2_words, dict(
        **_GPT, intermediate_size=48, tie_word_embeddings=False)),
    "gptj": Animal("gptj", gpt2_words, dict(
        **_GPT2, rotary_dim=4)),
    "opt": Animal("opt", opt_words, dict(
        hidden_size=32, word_embed_proj_dim=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=256, dropout=0.0)),
    "bloom": Animal("bloom", bloom_words, dict(hidden_size=32, n_layer=2, n_head=4)),
    "codegen": Animal("codegen", word_piece, dict(
        **_GPT2, rotary_dim=4)),
    "llama2": Animal("llama", llama2_words, dict(**_LLAMA), LLAMA2),
    "llama3": Animal("llama", llama3_words, dict(**_LLAMA, tie_word_embeddings=True), LLAMA3),
    "mistral": Animal("mistral", unigram_with_start, dict(**_LLAMA, sliding_window=8), MISTRAL),
    "mixtral": Animal("mixtral", llama2_words, dict(**_LLAMA, num_local_experts=4, sliding_window=None),
        targets="attention", without=("qlora",)),
    "qwen2": Animal("qwen2", qwen_words, dict(**_LLAMA, tie_word_embeddings=True), QWEN, spare=16),
    "qwen3": Animal("qwen3", qwen_words, dict(**_LLAMA, head_dim=16), CHATML),
    "gemma": Animal("gemma", gemma_words, dict(**_GEMMA), GEMMA),
    "gemma2": Animal("gemma2", gemma_words, dict(
        **_GEMMA, final_logit_softcapping=3.0, attn_logit_softcapping=5.0, sliding_window=8, query_pre_attn_scalar=16),
        GEMMA),
    "gemma3": Animal("gemma3_text", gemma_words, dict(**_GEMMA, sliding_window=8), GEMMA),
    "phi": Animal("phi", gpt2_words, dict(**_LLAMA, partial_rotary_factor=0.5)),
    "phi3": Animal("phi3", phi3_words, dict(**_LLAMA, original_max_position_embeddings=256, sliding_window=None), PHI3),
    "granite": Animal("granite", gpt2_words, dict(
        **_LLAMA, logits_scaling=8.0, embedding_multiplier=12.0, residual_multiplier=0.22, attention_multiplier=0.1),
        ZEPHYR),
    "olmo2": Animal("olmo2", gpt2_words, dict(**_LLAMA)),
    "falcon": Animal("falcon", gpt2_words, dict(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=256)),
    "stablelm": Animal("stablelm", gpt2_words, dict(**_LLAMA), ZEPHYR),
    "starcoder2": Animal("starcoder2", gpt2_words, dict(
        **_LLAMA, sliding_window=8, embedding_dropout=0.0, residual_dropout=0.0)),
    "cohere": Animal("cohere", gpt2_words, dict(**_LLAMA, logit_scale=0.25)),
    "mamba": Animal("mamba", gpt2_words, dict(
        hidden_size=32, num_hidden_layers=2, state_size=4), targets=["in_proj", "x_proj"], without=("qlora",)),
}  # fmt: skip
PAIRS = {
    "t5": Animal("t5", t5_words, dict(**_T5)),
    "mt5": Animal(
        "mt5", t5_words, dict(**_T5, tie_word_embeddings=False, feed_forward_proj="gated-gelu"), spare=12, own_head=True
    ),
    "bart": Animal("bart", bart_words, dict(**_BART), generates={"forced_bos_token_id": 0}),
    "pegasus": Animal("pegasus", t5_words, dict(**_BART, scale_embedding=True)),
    "marian": Animal("marian", t5_words, dict(**_BART, scale_embedding=True)),
    "mbart": Animal("mbart", two_languages, dict(**_BART)),
    "nllb": Animal("m2m_100", nllb_words, dict(**_BART)),
}
ALL = {**CAUSAL, **PAIRS}


def write(animal: Animal, folder: Path) -> Path:
    """As a user's local folder of a model would be."""
    tokenizer = animal.words()
    tokenizer.chat_template = animal.template and unmarked(animal.template)
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    special["pad_token_id"] = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    if animal.pairs:
        starts_with_end = animal.kind in ("bart", "m2m_100")
        start = "eos_token_id" if starts_with_end else "pad_token_id"
        special |= {"decoder_start_token_id": special[start]} if animal.kind != "mbart" else {}
        special |= {"forced_eos_token_id": None} if animal.kind != "t5" else {}
    config = CONFIG_MAPPING[animal.kind](vocab_size=len(tokenizer) + animal.spare, **special, **animal.sizes)
    torch.manual_seed(0)
    automatic = AutoModelForSeq2SeqLM if animal.pairs else AutoModelForCausalLM
    model = automatic.from_config(config)
    if animal.own_head:
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) * 0.05)
    livened(model, ends={tokenizer.eos_token_id, *tokenizer.convert_tokens_to_ids(TURN_ENDS)} - {None})
    for name, value in animal.generates.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def livened(model: Any, *, ends: set[int]) -> None:
    """Biases and norms as training leaves them: at their initial 0 and 1 a model cannot tell whether they are read.
    And texts that end now and then."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise * (0.1 if parameter.ndim < 2 else 0.05))
        model.get_output_embeddings().weight[sorted(ends)] *= 4
