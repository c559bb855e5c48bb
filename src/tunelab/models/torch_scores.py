"""What is done with scores that are tensors, where they are; numpy_scores.py does the same with arrays."""
# B texts, V vocabulary

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tunelab.config.schema import Generation

CACHED = 1 << 18
"""Scores that stay in the cache while they are looked at again: 1 MiB."""

PIECE = 64
"""Scores beside each other, of which the highest one is known first."""


def narrow(scores_BV: Tensor, settings: Generation) -> Tensor:
    """Scores to draw from: what top_k and top_p leave out is -inf."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    warpers: list[Any] = [TemperatureLogitsWarper(settings.temperature)]
    warpers += [TopKLogitsWarper(settings.top_k)] if settings.top_k else []
    warpers += [TopPLogitsWarper(settings.top_p)] if settings.top_p < 1 else []
    for warper in warpers:
        scores_BV = warper(None, scores_BV)
    return scores_BV


def draw(scores_BV: Tensor, uniforms: Sequence[float]) -> list[int]:
    """The token at which the cumulated probability passes the row's number of [0, 1)."""
    passed_BV = torch.softmax(scores_BV.double(), dim=-1).cumsum(dim=-1)
    wanted_B = torch.tensor(uniforms, dtype=torch.float64, device=scores_BV.device) * passed_BV[:, -1]
    return (
        torch.searchsorted(passed_BV, wanted_B[:, None], right=True).clamp(max=scores_BV.shape[-1] - 1)[:, 0].tolist()
    )


def normalisers(scores_BV: Tensor) -> tuple[Tensor, Tensor]:
    highest_B, sums = scores_BV.amax(dim=-1), []
    for rows_BV, highest_B1 in zip(_parts(scores_BV), _parts(highest_B[:, None], like=scores_BV), strict=True):
        sums.append((rows_BV - highest_B1).exp_().sum(dim=-1))
    return highest_B, torch.cat(sums).log_()


def best(
    scores_BV: Tensor, less: tuple[Tensor, Tensor], running: np.ndarray, *, beams: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The highest sums of a beam's score and a token's log-probability, best first, and their places in the prompt's
    (beam, token): of each row's highest tokens alone, so that nothing as large as the scores is written."""
    vocabulary = scores_BV.shape[-1]
    values_BK, tokens_BK = _highest(scores_BV, min(count, vocabulary))
    for part_B in less:
        values_BK = values_BK - part_B[:, None]
    repeats = len(running) // len(scores_BV)
    values_BK, tokens_BK = (of_rows.repeat_interleave(repeats, dim=0) for of_rows in (values_BK, tokens_BK))
    values_BK += torch.from_numpy(running).to(values_BK.device)[:, None]
    places_BK = tokens_BK + (torch.arange(len(running), device=tokens_BK.device) % beams * vocabulary)[:, None]
    scores_GK, chosen_GK = values_BK.reshape(-1, beams * values_BK.shape[-1]).topk(count)
    places_GK = places_BK.reshape(len(scores_GK), -1).gather(1, chosen_GK)
    return scores_GK.cpu().numpy(), places_GK.cpu().numpy()


def _highest(scores_BV: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """As `topk`. On a CPU it looks for the highest pieces of a row first, and then in them alone: every one of the
    `count` highest scores lies in one of the `count` pieces with the highest maxima."""
    pieces = scores_BV.shape[-1] // PIECE
    if scores_BV.device.type != "cpu" or pieces < 2 * count:
        return scores_BV.topk(count)
    whole_BNP = scores_BV[:, : pieces * PIECE].unflatten(1, (pieces, PIECE))
    chosen_BC = whole_BNP.amax(dim=-1).topk(count, sorted=False).indices
    rest_BR = scores_BV[:, pieces * PIECE :]
    among = torch.cat([whole_BNP.gather(1, chosen_BC[..., None].expand(-1, -1, PIECE)).flatten(1), rest_BR], dim=1)
    values_BK, places_BK = among.topk(count)
    tokens_BK = chosen_BC.gather(1, (places_BK // PIECE).clamp(max=count - 1)) * PIECE + places_BK % PIECE
    behind = places_BK >= count * PIECE  # of the rest that fills no piece
    return values_BK, torch.where(behind, places_BK + (pieces - count) * PIECE, tokens_BK)


def _parts(of_rows: Tensor, *, like: Tensor | None = None) -> Sequence[Tensor]:
    """So many rows at a time that their scores stay in a processor's cache; all of them on a device of its own."""
    scores = of_rows if like is None else like
    rows = max(1, CACHED // scores.shape[-1]) if scores.device.type == "cpu" else len(scores)
    return of_rows.split(rows)
