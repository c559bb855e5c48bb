"""Full fine-tuning: every weight is trained, by AdamW in fp32 over bf16 or fp32 products."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import PositiveFloat

from tunelab.contracts import Method

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Full(Method):
    learning_rate: PositiveFloat = 2.0e-5
    """Customary for models of 0.1 to 10 billion weights; small models want 10 to 50 times more."""

    def attach(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        return model.requires_grad_(True)

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        model.save_pretrained(folder)

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        from tunelab.models.load import load_weights

        load_weights(model, folder)

    def merged(self, model: PreTrainedModel) -> PreTrainedModel:
        return model
