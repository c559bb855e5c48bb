"""Methods whose result is a whole model: saved as weights, read as weights, nothing to merge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tunelab.contracts import Method

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def train_all(model: PreTrainedModel) -> PreTrainedModel:
    """Every parameter but those that `save_pretrained` leaves out: trained, they would be lost."""
    from tunelab.models.load import unsaved

    fixed = unsaved(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in fixed)
    return model


class WholeModel(Method):
    def save(self, model: PreTrainedModel, folder: Path) -> None:
        model.save_pretrained(folder)

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        from tunelab.models.load import load_weights

        load_weights(model, folder)

    def merged(self, model: PreTrainedModel) -> PreTrainedModel:
        return model
