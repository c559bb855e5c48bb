"""LISA: full fine-tuning of a few drawn blocks at a time (Pan et al. 2024, arXiv:2403.17919).

Embeddings, head and final norm always train, the drawn blocks for a number of steps, then others are drawn. Blocks
that rest are frozen and have no gradients and no optimizer state, which is what it saves; one that is drawn again after
a rest starts with new moments. Weights are saved whole, as in full fine-tuning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import PositiveFloat, PositiveInt

from tunelab.backend_contract import Updater
from tunelab.errors import ConfigError
from tunelab.models.whole import WholeModel, train_all

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from tunelab.config.schema import Optimizer

_SEED = "tunelab_block_seed"
"""An attribute of the model: what the draws depend on beside the step."""


class Lisa(WholeModel):
    learning_rate: PositiveFloat = 2.0e-5
    """As in full fine-tuning; that of the authors' script in LMFlow, for 3 billion weights. Small models want more."""

    layers: PositiveInt = 2
    """Transformer blocks that train at a time; an encoder's and a decoder's are drawn from together."""

    period: PositiveInt = 20
    """Steps after which blocks are drawn again."""

    narrow_weights: ClassVar[bool] = True

    @classmethod
    def example(cls) -> dict[str, Any]:
        return {"layers": 1, "period": 1}  # so that most blocks are met within a few steps of a test

    def attach(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        count = len(blocks(model))
        if self.layers > count:
            raise ConfigError(f"layers: {self.layers} at a time of a model with {count} blocks; give at most {count}")
        setattr(model, _SEED, seed)
        return train_all(model)

    def updater(self, model: PreTrainedModel, rule: Optimizer) -> Updater:
        from tunelab.training.optim import SharedRule
        from tunelab.training.sampled import SampledRule

        parts = [[p for p in block.parameters() if p.requires_grad] for block in blocks(model).values()]
        seed = getattr(model, _SEED)
        return SampledRule(
            SharedRule(model, rule, kind=self.optimizer_kind),
            parts,
            awake=lambda step: self.drawn(step, seed=seed, count=len(parts)),
            notes={"blocks": len(parts), "blocks_at_a_time": self.layers, "period": self.period},
        )

    def drawn(self, step: int, *, seed: int, count: int) -> list[int]:
        """Which of `count` blocks train at `step`, counted from 1: a function of seed and step alone, each block
        equally likely."""
        from tunelab.kernels.initial import generator

        key = f"lisa, draw {(step - 1) // self.period}"
        return sorted(generator(seed=seed, name=key).choice(count, size=self.layers, replace=False).tolist())


def blocks(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Transformer blocks by module path: the entries of the outermost lists of modules that have linear layers inside.

    Heads or projections that lie in a list as bare linear layers are no blocks.
    """
    from torch import nn

    from tunelab.models.targets import linear_layers

    linear, found = linear_layers(model), {}
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or any(name.startswith(f"{path}.") for path in found):
            continue
        for index, block in enumerate(module):
            path = f"{name}.{index}"
            if any(layer.startswith(f"{path}.") for layer in linear):
                found[path] = block
    return found
