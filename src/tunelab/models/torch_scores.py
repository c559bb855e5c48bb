"""What is done with scores that are tensors, where they are; numpy_scores.py does the same with arrays."""
# B texts, V vocabulary

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tunelab.config.schema import Generation


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


def log_probabilities(scores_BV: Tensor) -> Tensor:
    return torch.log_softmax(scores_BV.float(), dim=-1)


def best(logs_BV: Tensor, running_B: np.ndarray, *, beams: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The highest sums of a beam's score and a token's, best first, and their places in the prompt's (beam, token)."""
    logs_BV += torch.from_numpy(running_B).to(logs_BV.device)[:, None]
    scores_GK, places_GK = logs_BV.reshape(len(running_B) // beams, -1).topk(count)
    return scores_GK.cpu().numpy(), places_GK.cpu().numpy()
