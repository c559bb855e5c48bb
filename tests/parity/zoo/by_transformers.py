"""What transformers and PEFT alone make of a study's rows and models: nothing here knows how tunelab reads a text."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, BitsAndBytesConfig

from parity.zoo.studies import NEW_TOKENS, Study, conversations

IGNORED = -100


class Row(NamedTuple):
    """One example as transformers' own forward takes it, and the prompt that its answer is generated from."""

    inputs: dict[str, torch.Tensor]
    """With labels."""
    prompt: list[int]

    @property
    def num_learned(self) -> int:
        labels = self.inputs["labels"]
        return int((labels != IGNORED).sum())


def tokenizer_of(study: Study) -> Any:
    return AutoTokenizer.from_pretrained(study.base)


def rows(study: Study, pairs: list[tuple[str, str]]) -> list[Row]:
    tokenizer = tokenizer_of(study)
    if study.animal.template:
        return [_chat(messages, tokenizer, study.animal.template) for messages in conversations(pairs)]
    make = _pair if study.animal.pairs else _joined
    return [make(f"{question}\n", answer, tokenizer) for question, answer in pairs]


def _chat(messages: list[dict[str, str]], tokenizer: Any, template: str) -> Row:
    """The template's own mark of what the assistant says."""
    whole = tokenizer.apply_chat_template(
        messages, chat_template=template, return_dict=True, return_assistant_tokens_mask=True
    )
    learned = zip(whole["input_ids"], whole["assistant_masks"], strict=True)
    labels = [token if said else IGNORED for token, said in learned]
    asked = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=True)["input_ids"]
    return Row(_batch(input_ids=whole["input_ids"], labels=labels), asked)


def _joined(prompt: str, answer: str, tokenizer: Any) -> Row:
    """Prompt as the tokenizer opens it, answer, end."""
    given = tokenizer(prompt)["input_ids"]
    given = given[:-1] if given[-1] == tokenizer.eos_token_id else given
    target = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    return Row(_batch(input_ids=[*given, *target], labels=[IGNORED] * len(given) + target), given)


def _pair(prompt: str, answer: str, tokenizer: Any) -> Row:
    given = tokenizer(prompt, text_target=answer)
    return Row(_batch(input_ids=given["input_ids"], labels=given["labels"]), given["input_ids"])


def _batch(**ids: list[int]) -> dict[str, torch.Tensor]:
    made = {name: torch.tensor([values]) for name, values in ids.items()}
    return {**made, "attention_mask": torch.ones_like(made["input_ids"])}


# ------------------------------------------------------------------ models


def plain(study: Study, folder: Path, **options: Any) -> Any:
    automatic = AutoModelForSeq2SeqLM if study.animal.pairs else AutoModelForCausalLM
    return automatic.from_pretrained(folder, **{"dtype": torch.float32, **options}).eval()


def trained(study: Study, method: str) -> Any:
    """What a user without tunelab makes of the files that a run saved."""
    if method == "base":
        return plain(study, study.base)
    saved = study.run(method) / "model"
    if method == "full":
        return plain(study, saved)
    from peft import PeftModel

    options: dict[str, Any] = {}
    base = study.base
    if method == "qlora" and study.animal.kind == "falcon":
        model = plain(study, base)
        hold_in_nf4(model)
        return PeftModel.from_pretrained(model, str(saved)).eval()
    if method == "qlora":
        nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
        options = {"quantization_config": nf4}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PeftModel.from_pretrained(plain(study, base, **options), str(saved)).eval()


def hold_in_nf4(model: Any) -> None:
    """What bitsandbytes' 4 bits leave of every linear layer: transformers passes over those of Falcon's own class."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear) and layer is not model.get_output_embeddings():
            codes, state = quantize_4bit(layer.weight.data, quant_type="nf4", compress_statistics=True)
            layer.weight.data = dequantize_4bit(codes, state)


def loss_sum(model: Any, row: Row) -> float:
    with torch.no_grad():
        return float(model(**row.inputs).loss) * row.num_learned


def logits(model: Any, row: Row) -> torch.Tensor:
    with torch.no_grad():
        return model(**row.inputs).logits[0]


def text(model: Any, row: Row, tokenizer: Any, **told: Any) -> str:
    """Greedy; `told`: what of the family a user has to tell transformers."""
    ids = torch.tensor([row.prompt])
    out = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False, **told
    )
    start = 1 if model.config.is_encoder_decoder else len(row.prompt)
    return tokenizer.decode(out[0, start:], skip_special_tokens=True).strip()


def family_facts(row: Row, model: Any, tokenizer: Any) -> dict[str, Any]:
    """What ends a text, and with what an encoder-decoder's begins, read off the labels."""
    learned = [token for token in row.inputs["labels"][0].tolist() if token != IGNORED]
    if not model.config.is_encoder_decoder:
        return {"eos_token_id": sorted({tokenizer.eos_token_id, learned[-1]}), "pad_token_id": tokenizer.eos_token_id}
    first = learned[0] if learned[0] in tokenizer.all_special_ids and learned[0] != tokenizer.unk_token_id else None
    told = {"eos_token_id": tokenizer.eos_token_id, "forced_bos_token_id": first, "forced_eos_token_id": None}
    if model.config.decoder_start_token_id is None:
        told["decoder_start_token_id"] = learned[-1]  # mBART: the labels' language, behind their end
    return told
