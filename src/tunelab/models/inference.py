"""Text generation: prompts sorted by length, under a token budget that is halved when memory runs out.

Ordinary models take the loops of decoding.py and beams.py; every other model takes transformers' `generate`, a batch at
a time. What a text becomes does not depend on the texts beside it but for the rounding of products, which differs with
the batch's shape: where two tokens score the same to the last bits (fp32: about 1e-6 of the score) the other one may be
taken.
"""
# B batch, T tokens, V vocabulary

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from tunelab import device
from tunelab.config.schema import Generation
from tunelab.errors import RunError
from tunelab.models.beams import search
from tunelab.models.choosing import Chooser, Text
from tunelab.models.decoding import decode
from tunelab.models.ensemble import Ensemble
from tunelab.models.limits import limits_of, too_long
from tunelab.models.replaced_parts import NotReplaced
from tunelab.models.shared_rows import shared_rows
from tunelab.models.torch_rows import decodes, padded, quick_rows, rows_of
from tunelab.records import Decoded

if TYPE_CHECKING:
    from transformers import PreTrainedModel


INSTEAD = {
    "shared": "beam search keeps each prompt's keys and values once a beam",
    "quick": "text is generated with the model's own attention",
}
"""What is done where a way to hold rows is found not to give the model's own scores."""


class Prompts(NamedTuple):
    """What to go on from, and what draws are seeded by."""

    ids: Sequence[np.ndarray]
    seed: int = 0
    """The run's."""
    examples: Sequence[int] | None = None
    """Each prompt's place in the whole test set; None: these are all."""


def generate(
    model: PreTrainedModel,
    prompts: Prompts,
    settings: Generation,
    *,
    ends: list[int],
    pad: int,
    max_tokens: int,
    first: Sequence[int] = (),
    progress: Callable[[Decoded], None] = lambda decoded: None,
    note: Callable[[str], None] = lambda text: None,
) -> list[list[int]]:
    """New token ids for each prompt, in the order given, cut before the end token.

    Args:
        first: with which every text begins, before what the model chooses; counted as new tokens.
        max_tokens: padded tokens of one batch, prompt, new tokens and beams counted.
        note: told, once for all, how far the budget had to be halved, and why a slower way is taken.

    Raises:
        RunError: there is not memory for one text, or the model has no positions for the longest.
    """
    _check_room(model, prompts, settings)
    examples = range(len(prompts.ids)) if prompts.examples is None else prompts.examples
    texts = [
        Text(number, ids, settings=settings, seed=(prompts.seed, example))
        for number, (ids, example) in enumerate(zip(prompts.ids, examples, strict=True))
    ]
    waiting = {text.number: text for text in sorted(texts, key=lambda text: -len(text.prompt))}
    choose, num_tokens, budget = Chooser(settings, ends, first), 0, max_tokens
    attempt: Any = _with_rows if decodes(model) else _with_transformers
    ways = [*(["shared"] if settings.beams > 1 else []), "quick", "plain"]
    given: dict[str, Any] = {"ways": ways} if decodes(model) else {}

    def told(finished: Sequence[Text], new: int) -> None:
        nonlocal num_tokens
        num_tokens += new
        for text in finished:
            del waiting[text.number]
        progress(Decoded({text.number: text.new for text in finished}, num_tokens))

    while waiting:
        for text in waiting.values():
            text.new.clear()
        asked = list(waiting.values())
        work = partial(attempt, model, asked, choose, pad=pad, max_tokens=budget, told=told, **given)
        try:
            if device.fits(work, on=model.device):
                break
        except NotReplaced as why:
            note(f"{INSTEAD[ways.pop(0)]}, which is slower: {why}")
            continue
        longest = max(len(text.prompt) for text in waiting.values()) + settings.max_new_tokens
        if budget <= longest * settings.beams:
            raise RunError(
                f"memory ran out while one text of up to {longest} tokens was generated; "
                "lower generation.max_new_tokens, generation.beams or batch.max_length"
            )
        budget = max(budget // 2, longest * settings.beams)
    if budget < max_tokens:
        note(f"memory ran out while generating: batches of {budget} padded tokens instead of {max_tokens}")
    return [text.new for text in texts]


def _check_room(model: Any, prompts: Prompts, settings: Generation) -> None:
    one = model.models[0] if isinstance(model, Ensemble) else model
    longest = max((len(ids) for ids in prompts.ids), default=0)
    if why := too_long(limits_of(one), longest_prompt=longest, max_new_tokens=settings.max_new_tokens):
        raise RunError(why)


def _with_rows(
    model: Any,
    texts: Sequence[Text],
    choose: Chooser,
    *,
    pad: int,
    max_tokens: int,
    told: Callable[[list[Text], int], None],
    ways: list[str],
) -> None:
    """
    Args:
        ways: to hold rows, the fastest first: of them the first one is taken.

    Raises:
        NotReplaced: it is not for this model.
    """
    write = decode if choose.settings.beams == 1 else search
    rows = {"shared": shared_rows, "quick": quick_rows, "plain": rows_of}[ways[0]](model, pad)
    try:
        write(rows, texts, choose, max_tokens=max_tokens, told=told)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if ways[0] != "shared" or rows.checked or device.out_of_memory(error):
            raise
        raise NotReplaced((str(error).splitlines() or [type(error).__name__])[0]) from error


# ------------------------------------------------------------------ transformers' generate


def _with_transformers(
    model: Any,
    texts: Sequence[Text],
    choose: Chooser,
    *,
    pad: int,
    max_tokens: int,
    told: Callable[[list[Text], int], None],
) -> None:
    """As `decode`; a batch ends with its last text."""
    from transformers import GenerationConfig

    settings = choose.settings
    config = GenerationConfig(
        do_sample=False,
        num_beams=settings.beams,
        max_new_tokens=settings.max_new_tokens,
        length_penalty=settings.length_penalty,
        early_stopping=settings.early_stopping,
        eos_token_id=choose.ends,
        pad_token_id=pad,
        decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None),
        use_cache=True,
    )
    for batch in _batches(texts, max_tokens=max_tokens, new=settings.max_new_tokens, beams=settings.beams):
        pairs = model.config.is_encoder_decoder
        ids_BT, mask_BT = padded([text.prompt for text in batch], pad=pad, left=not pairs, device=model.device)
        start = 1 if pairs else ids_BT.shape[1]
        with torch.no_grad(), _without_defaults(model):
            out_BT = model.generate(
                ids_BT,
                attention_mask=mask_BT,
                generation_config=config,
                logits_processor=[_Rule(choose, batch, start=start)],
            )
        for text, new in zip(batch, out_BT[:, start:].tolist(), strict=True):
            text.new[:] = _before_end(new, choose.ends)
        told(batch, sum(len(text.new) for text in batch))


@contextmanager
def _without_defaults(model: Any) -> Iterator[None]:
    """While it lasts nothing comes from the model's own generation_config.json (penalties, forced tokens), which
    transformers would take wherever it was told nothing: the study's settings alone change a number."""
    from transformers import GenerationConfig

    asked = model.models[0] if isinstance(model, Ensemble) else model
    held = asked.generation_config
    asked.generation_config = GenerationConfig()
    try:
        yield
    finally:
        asked.generation_config = held


class _Rule:
    """The chooser as one of transformers' logits processors."""

    def __init__(self, choose: Chooser, texts: Sequence[Text], *, start: int) -> None:
        self.choose, self.texts, self.start = choose, texts, start

    def __call__(self, ids_BT: torch.Tensor, scores_BV: torch.Tensor) -> torch.Tensor:
        new = ids_BT[:, self.start :].tolist()
        if not self.choose.settings.temperature:
            return self.choose.rule(scores_BV, new)
        for text, tokens in zip(self.texts, new, strict=True):
            text.new[:] = tokens
        drawn = torch.tensor(self.choose(scores_BV, self.texts), device=scores_BV.device)
        return torch.full_like(scores_BV, -torch.inf).scatter(1, drawn[:, None], 0.0)


def _batches(texts: Sequence[Text], *, max_tokens: int, new: int, beams: int) -> list[list[Text]]:
    """The longest prompt first."""
    batches: list[list[Text]] = []
    for text in texts:
        longest = len(batches[-1][0].prompt) if batches else 0
        if batches and (longest + new) * beams * (len(batches[-1]) + 1) <= max_tokens:
            batches[-1].append(text)
        else:
            batches.append([text])
    return batches


def _before_end(ids: list[int], ends: list[int]) -> list[int]:
    for position, token in enumerate(ids):
        if token in ends:
            return ids[:position]
    return ids
