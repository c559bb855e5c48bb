"""Whether plain transformers writes from an exported folder what this program does: its own `generate`, the folder's
own tokenizer, template and generation_config.json, on a few prompts, greedily and in fp32."""
# T tokens, V vocabulary

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tunelab.config.schema import Generation
from tunelab.data.tokens.chat import plain_text
from tunelab.export.check import LIMITS, Asked
from tunelab.models.generation_file import end_tokens
from tunelab.models.limits import limits_of, too_long
from tunelab.records import Example, TextSide

NUM_NEW = 32
"""Tokens of a text that is compared, at most."""
SHOWN = 60


class Texts(NamedTuple):
    """How many of `num` texts are equal, and how many prompts."""

    num: int
    equal: int
    ties: int
    """Of the equal ones those that part where two tokens score the same within rounding."""
    other_prompts: int
    """Prompts that the folder's tokenizer and template make other ids of than the study did; of those whose text is
    known."""
    first: tuple[str, str] | None
    """The first two that differ: ours and transformers'."""

    @property
    def notes(self) -> tuple[str, ...]:
        said = []
        if self.equal < self.num and self.first is not None:
            ours, theirs = (repr(text[:SHOWN]) for text in self.first)
            said.append(
                f"WARNING: transformers' generate writes {self.num - self.equal} of {self.num} texts otherwise from "
                f"this folder than the study did: {theirs} in place of {ours}"
            )
        if self.other_prompts:
            said.append(
                f"the folder's tokenizer and template make other tokens of {self.other_prompts} of {self.num} prompts "
                "than were learned (a date, a system text or a start token; `tunelab show` prints those of the study)"
            )
        return tuple(said)


def compare_texts(session: Any, written: Any, folder: Path, *, asked: Sequence[Asked], text: TextSide) -> Texts | None:
    """None where no prompt leaves room for new tokens.

    Args:
        session: the model as this program reads it from the folder, in fp32.
        written: the same model as plain transformers (or PEFT) reads it from there.
        text: of the base.
    """
    from transformers import AutoTokenizer, GenerationConfig

    new = min(NUM_NEW, session.run.generation.max_new_tokens)
    limits = limits_of(session.model)
    fit = [
        one for one in asked if len(one.ids) and not too_long(limits, longest_prompt=len(one.ids), max_new_tokens=new)
    ]
    if not fit:
        return None
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = GenerationConfig.from_pretrained(folder)
    config.update(do_sample=False, num_beams=1, temperature=None, top_p=None, top_k=None, no_repeat_ngram_size=None)
    config.max_new_tokens = new
    settings = Generation(max_new_tokens=new)
    ours = session.generate([one.ids for one in fit], settings, progress=lambda decoded: None)
    ends = set(end_tokens(session.model, text.tokenizer))
    equal = ties = 0
    first = None
    for one, wanted in zip(fit, ours, strict=True):
        theirs = _generated(written, one.ids, config, pairs=text.encoder_decoder)
        if _same(wanted, theirs, ends, new=new):
            equal += 1
        elif _tied(session, one.ids, wanted, theirs, text):
            equal, ties = equal + 1, ties + 1
        elif first is None:
            first = (text.tokenizer.decode(wanted), text.tokenizer.decode(theirs))
    known = [one for one in fit if one.example is not None and not has_fields(one.example)]
    other = sum(_prompt_ids(tokenizer, one.example, pairs=text.encoder_decoder) != one.ids.tolist() for one in known)
    return Texts(len(fit), equal, ties, other, first)


def _generated(model: Any, ids: np.ndarray, config: Any, *, pairs: bool) -> list[int]:
    """All that transformers gives behind the prompt, the end token too."""
    import torch

    ids_1T = torch.tensor(ids[None].astype(np.int64), device=model.device)
    with torch.no_grad():
        out_1T = model.generate(input_ids=ids_1T, attention_mask=torch.ones_like(ids_1T), generation_config=config)
    return out_1T[0, 1 if pairs else len(ids) :].tolist()


def _same(ours: list[int], theirs: list[int], ends: set[int], *, new: int) -> bool:
    """Ours is without its end token; a text that was cut at the most has none."""
    return theirs == ours if len(ours) == new else theirs[:-1] == ours and theirs[-1] in ends


def _tied(session: Any, ids: np.ndarray, ours: list[int], theirs: list[int], text: TextSide) -> bool:
    """Whether the two tokens at which the texts part score the same within rounding."""
    import torch

    place = next((at for at, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
    if place is None:
        return False
    given = torch.tensor([ids.tolist()], device=session.model.device)
    begun = torch.tensor([ours[:place]], dtype=torch.long, device=session.model.device)
    with torch.no_grad():
        if text.encoder_decoder:
            start = torch.tensor([[session.model.config.decoder_start_token_id]], device=given.device)
            out = session.model(input_ids=given, decoder_input_ids=torch.cat([start, begun], 1))
        else:
            out = session.model(input_ids=torch.cat([given, begun], 1))
    logits_V = out.logits[0, -1].float()
    gap = float((logits_V[ours[place]] - logits_V[theirs[place]]).abs())
    return gap <= LIMITS["fp32"] * float(logits_V.abs().max())


def has_fields(example: Example) -> bool:
    """Tool calls, reasoning and the like: how a template is given them is chat_fields.py's to find out."""
    return bool(example.given or any(turn.more for turn in example.turns))


def _prompt_ids(tokenizer: Any, example: Example | None, *, pairs: bool) -> list[int] | None:
    """As a user of the folder would make them; None where the template refuses the conversation."""
    from jinja2.exceptions import TemplateError

    assert example is not None
    if not example.turns:
        return tokenizer(example.prompt)["input_ids"]
    asked = example.turns[:-1]
    if pairs:
        return tokenizer(plain_text(asked, end="", answer=True).text)["input_ids"]
    messages = [{"role": turn.role, "content": turn.text} for turn in asked]
    try:
        return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
    except TemplateError:
        return None
