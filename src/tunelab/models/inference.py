"""Text generation: greedy and beam search through transformers' `generate`, in length-sorted left-padded batches."""
# B batch, T tokens

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tunelab.config.schema import Generation
from tunelab.data import chat

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def end_tokens(model: PreTrainedModel, tokenizer: Any) -> list[int]:
    """Every token that ends a text: the tokenizer's, its chat template's, and those the model's authors name."""
    named = getattr(model.generation_config, "eos_token_id", None)
    named = named if isinstance(named, list) else [named]
    return sorted({*chat.end_tokens(tokenizer), *(token for token in named if token is not None)})


def generate(
    model: PreTrainedModel,
    prompts: Sequence[np.ndarray],
    settings: Generation,
    *,
    ends: list[int],
    pad: int,
    max_tokens: int,
    progress: Callable[[int], None] = lambda done: None,
) -> list[list[int]]:
    """New token ids for each prompt, in the order given, cut before the end token.

    Args:
        max_tokens: padded tokens of one batch, prompt, new tokens and beams counted.
        progress: told how many prompts are done.
    """
    from transformers import GenerationConfig

    config = GenerationConfig(
        do_sample=False,
        num_beams=settings.beams,
        max_new_tokens=settings.max_new_tokens,
        length_penalty=settings.length_penalty,
        eos_token_id=ends,
        pad_token_id=pad,
        decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None),
        use_cache=True,
    )
    results: list[list[int]] = [[] for _ in prompts]
    done = 0
    for indices in _sorted_batches(prompts, max_tokens=max_tokens, new=settings.max_new_tokens, beams=settings.beams):
        ids_BT, mask_BT = _left_padded([prompts[index] for index in indices], pad=pad, device=model.device)
        start = 1 if model.config.is_encoder_decoder else ids_BT.shape[1]
        processors = [NoRepeatNgram(settings.no_repeat_ngram, start=start)] if settings.no_repeat_ngram else []
        with torch.no_grad():
            out_BT = model.generate(
                ids_BT, attention_mask=mask_BT, generation_config=config, logits_processor=processors
            )
        for index, new in zip(indices, out_BT[:, start:].tolist(), strict=True):
            results[index] = _before_end(new, ends)
        done += len(indices)
        progress(done)
    return results


class NoRepeatNgram:
    """No n-gram twice among the generated tokens. transformers' own rule counts a causal model's prompt too, and so
    forbids it to copy from there; microsoft/LoRA and fairseq count as here."""

    def __init__(self, size: int, *, start: int) -> None:
        self.size, self.start = size, start

    def __call__(self, ids_BT: torch.Tensor, scores_BV: torch.Tensor) -> torch.Tensor:
        for row, ids in enumerate(ids_BT[:, self.start :].tolist()):
            tail = ids[len(ids) - self.size + 1 :]
            if len(tail) < self.size - 1:
                continue
            starts = range(len(ids) - self.size + 1)
            seen = [ids[at + self.size - 1] for at in starts if ids[at : at + self.size - 1] == tail]
            scores_BV[row, seen] = -torch.inf
        return scores_BV


def _sorted_batches(prompts: Sequence[np.ndarray], *, max_tokens: int, new: int, beams: int) -> list[list[int]]:
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    batches: list[list[int]] = []
    for index in order:
        longest = len(prompts[batches[-1][0]]) if batches else 0
        if batches and (longest + new) * beams * (len(batches[-1]) + 1) <= max_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _left_padded(rows: list[np.ndarray], *, pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(1, *(len(row) for row in rows)) if rows else 1
    ids = np.full((len(rows), longest), pad, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for position, row in enumerate(rows):
        ids[position, longest - len(row) :] = row
        mask[position, longest - len(row) :] = 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)


def _before_end(ids: list[int], ends: list[int]) -> list[int]:
    for position, token in enumerate(ids):
        if token in ends:
            return ids[:position]
    return ids
