"""What a model cannot hold: positions beyond those that it has, tokens without an embedding. Said before training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunelab.records import Limits


def limits_of(model: Any) -> Limits:
    """Of a model on any device. Rotary and relative positions have no end; a table of positions has one."""
    sides = {"encoder": _positions(model, "encoder"), "decoder": _positions(model, "decoder")}
    if not model.config.is_encoder_decoder:
        sides = {"encoder": None, "decoder": _positions(model, "")}
    return Limits(sides["encoder"], sides["decoder"], model.get_input_embeddings().weight.shape[0])


def _positions(model: Any, side: str) -> int | None:
    """Rows of the position table below a part of the model of that name, less those kept for padding."""
    from torch import nn

    found = [
        module.num_embeddings - int(getattr(module, "offset", 0) or 0)
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and _is_positions(name) and side in name
    ]
    return min(found, default=None)


def _is_positions(name: str) -> bool:
    """GPT-2's wpe, OPT's and BART's embed_positions, BERT's position_embeddings; not T5's relative_attention_bias."""
    last = name.rpartition(".")[2]
    return last == "wpe" or "position" in last


def limit_problems(limits: Limits, *, max_length: int, num_tokens: int | None) -> Iterator[tuple[str, str]]:
    """Keys of a study and what is wrong with them for this model.

    Args:
        num_tokens: of its tokenizer, the largest id and one; None: not known here.
    """
    known = [positions for positions in (limits.source_positions, limits.positions) if positions is not None]
    if known and max_length > min(known):
        rule = f"{max_length} tokens, and the model has {min(known)} positions; set batch.max_length to at most that"
        yield "batch.max_length", rule
    if num_tokens is not None and num_tokens > limits.embedding_rows:
        rule = (
            f"its tokenizer gives ids up to {num_tokens - 1}, the model has {limits.embedding_rows} embedding rows; "
            "save it after model.resize_token_embeddings(len(tokenizer)), or take the added tokens out of the tokenizer"
        )
        yield "model", rule


def generation_problem(limits: Limits, *, max_new_tokens: int) -> str | None:
    """Why a decoder of an encoder-decoder can write no text of that length, whatever the prompts are."""
    if limits.source_positions is None or limits.positions is None or max_new_tokens < limits.positions:
        return None
    return (
        f"{max_new_tokens} new tokens and the start token do not fit the decoder's {limits.positions} positions; set "
        f"it to at most {limits.positions - 1}"
    )


def generation_note(limits: Limits, *, max_length: int, max_new_tokens: int) -> str | None:
    """What a plan says where the longest prompts could not be answered; a run knows how long they are."""
    if limits.positions is None:
        return None
    if limits.source_positions is None and max_length + max_new_tokens > limits.positions >= max_length:
        return (
            f"batch.max_length ({max_length}) and generation.max_new_tokens ({max_new_tokens}) together are more than "
            f"the model's {limits.positions} positions: a prompt of more than "
            f"{max(0, limits.positions - max_new_tokens)} tokens cannot be answered; lower one of them"
        )
    return None


def too_long(limits: Limits, *, longest_prompt: int, max_new_tokens: int) -> str | None:
    """Why texts cannot be generated, told before the first of them."""
    if limits.positions is None:
        return None
    needed = max_new_tokens + (longest_prompt if limits.source_positions is None else 1)
    if needed <= limits.positions:
        return None
    if limits.source_positions is not None:
        return f"generation.max_new_tokens: {generation_problem(limits, max_new_tokens=max_new_tokens)}"
    return (
        f"a prompt of {longest_prompt} tokens and {max_new_tokens} new ones do not fit the model's {limits.positions} "
        "positions; lower generation.max_new_tokens or batch.max_length (what was trained is kept)"
    )


GENERATION_BATCH, LEAST_BATCH = 4, 16384
"""A generation batch may hold this many times batch.max_tokens, since it keeps no activations; on a CPU, where that is
small for the cache's sake, up to so many tokens."""


def generation_tokens(max_tokens: int, *, on_cpu: bool) -> int:
    """Of a generation batch, prompt, new tokens and beams counted."""
    least = min(GENERATION_BATCH**2 * max_tokens, LEAST_BATCH) if on_cpu else 0
    return max(GENERATION_BATCH * max_tokens, least)
