"""Several models that answer as one: their next-token distributions are averaged, in likelihoods and in generation.

To a session it is a model like any other. Generation goes through the first model's `generate`; the others follow its
tokens, each with a cache of its own.
"""
# M models, B batch (with beams), T tokens, V vocabulary

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from tunelab.errors import ModelError
from tunelab.models.growing_cache import cache_argument

Mean = Literal["log_probabilities", "probabilities"]


def mix(logits: Sequence[Tensor], weights: Sequence[float], *, mean: Mean) -> Tensor:
    """Log-probabilities, shape (..., V), of the weighted mean of M distributions given as logits.

    log_probabilities: the geometric mean, made to add up to 1 again. probabilities: the arithmetic mean.
    """
    weights = [weight / sum(weights) for weight in weights]
    logs_M = [torch.log_softmax(each.float(), dim=-1) for each in logits]
    if mean == "probabilities":
        shifted_M = [log + torch.tensor(weight).log() for log, weight in zip(logs_M, weights, strict=True) if weight]
        return torch.logsumexp(torch.stack(shifted_M), dim=0)
    total = torch.zeros_like(logs_M[0])
    for log, weight in zip(logs_M, weights, strict=True):
        if weight:  # 0 * -inf is not a number
            total = total + weight * log
    return torch.log_softmax(total, dim=-1)


class Outputs(NamedTuple):
    logits: Tensor


class Ensemble(nn.Module):
    models: Any
    """An nn.ModuleList."""

    def __init__(self, models: Sequence[nn.Module], weights: Sequence[float], *, mean: Mean) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.weights = tuple(weights)
        self.mean: Mean = mean

    @property
    def config(self) -> Any:
        return self.models[0].config

    @property
    def generation_config(self) -> Any:
        return self.models[0].generation_config

    @property
    def device(self) -> torch.device:
        return self.models[0].device

    def get_output_embeddings(self) -> _Heads | None:
        heads = [model.get_output_embeddings() for model in self.models]
        return None if None in heads else _Heads(heads)

    def forward(self, **inputs: Any) -> Outputs:
        return Outputs(mix([model(**inputs).logits for model in self.models], self.weights, mean=self.mean))

    def generate(self, ids_BT: Tensor, *, attention_mask: Tensor, logits_processor: list[Any], **rest: Any) -> Tensor:
        others = [_Follower(model, ids_BT, attention_mask) for model in self.models[1:]]

        def mixed(ids: Tensor, scores_BV: Tensor) -> Tensor:
            return mix([scores_BV, *(other(ids) for other in others)], self.weights, mean=self.mean)

        return self.models[0].generate(
            ids_BT, attention_mask=attention_mask, logits_processor=[mixed, *logits_processor], **rest
        )

    def save_pretrained(self, *_: Any, **__: Any) -> None:
        raise ModelError("an ensemble is several models and has no weights of its own; `merge` makes one model of runs")


class _Heads(NamedTuple):
    """The models' output heads, asked as one: what a session hooks on one it hooks on all."""

    heads: list[Any]

    @property
    def weight(self) -> Tensor:
        return self.heads[0].weight

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> _Hooks:
        return _Hooks([head.register_forward_pre_hook(hook) for head in self.heads])


class _Hooks(NamedTuple):
    handles: list[Any]

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


class _Follower:
    """One model's next-token logits for sequences that another one's generation extends, reorders and repeats."""

    def __init__(self, model: Any, prompt_BT: Tensor, mask_BT: Tensor) -> None:
        self.model, self.prompt, self.mask = model, prompt_BT, mask_BT
        self.pairs = bool(model.config.is_encoder_decoder)
        self.positions = "position_ids" in inspect.signature(model.forward).parameters
        self.cache_name = cache_argument(model.forward)
        self.encoded: Any = None
        self.cache: Any = None
        self.seen_BT: Tensor | None = None
        """The sequences that the cache stands for."""

    def __call__(self, ids_BT: Tensor) -> Tensor:
        if self.seen_BT is None:
            self._begin(ids_BT)
            new_BT = ids_BT
        else:
            self.cache.reorder_cache(_same_rows(ids_BT[:, :-1], self.seen_BT, beams=len(ids_BT) // len(self.prompt)))
            new_BT = ids_BT[:, -1:]
        self.seen_BT = ids_BT
        inputs: dict[str, Any] = {self.cache_name: self.cache, "use_cache": True}
        if self.pairs:
            inputs |= {"encoder_outputs": self.encoded, "attention_mask": self.mask, "decoder_input_ids": new_BT}
        else:
            added = ids_BT.shape[1] - self.mask.shape[1]
            mask_BT = torch.cat([self.mask, self.mask.new_ones(len(ids_BT), added)], dim=1)
            inputs |= {"input_ids": new_BT, "attention_mask": mask_BT}
            if self.positions:
                inputs["position_ids"] = (mask_BT.cumsum(-1) - 1).clamp(min=0)[:, -new_BT.shape[1] :]
        out = self.model(**inputs)
        self.cache = out[self.cache_name]
        return out.logits[:, -1]

    def _begin(self, ids_BT: Tensor) -> None:
        """Prompts are repeated once a beam, each beside its copies."""
        beams = len(ids_BT) // len(self.prompt)
        if self.pairs:
            encode = self.model.get_encoder()
            self.encoded = encode(input_ids=self.prompt, attention_mask=self.mask)
            self.encoded.last_hidden_state = self.encoded.last_hidden_state.repeat_interleave(beams, dim=0)
        self.mask = self.mask.repeat_interleave(beams, dim=0)


def _same_rows(wanted_BT: Tensor, known_BT: Tensor, *, beams: int) -> Tensor:
    """For each wanted row a known row of the same prompt that equals it: which beam was gone on with."""
    same_BB = (wanted_BT[:, None] == known_BT[None]).all(-1)
    prompt_B = torch.arange(len(known_BT), device=known_BT.device) // beams
    same_BB &= prompt_B[:, None] == prompt_B[None]
    assert bool(same_BB.any(1).all()), "generation changed a token that was already given"
    return same_BB.int().argmax(1)
