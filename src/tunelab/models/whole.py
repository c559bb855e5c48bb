"""Methods whose result is a whole model: saved as weights, read as weights, nothing to merge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tunelab.contracts import Method
from tunelab.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def train_all(model: PreTrainedModel) -> PreTrainedModel:
    """Every parameter but those that `save_pretrained` leaves out: trained, they would be lost."""
    from tunelab.models.load import unsaved

    fixed = unsaved(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in fixed)
    return model


def train_part(model: PreTrainedModel, *, only: str | tuple[str, ...], freeze: str | tuple[str, ...]) -> None:
    """Of what is trained, what `only` names (empty: all) and `freeze` does not, in the words of models/also.py.

    Raises:
        ConfigError: one names nothing, or nothing is left.
    """
    from tunelab.models.also import beside

    wanted = set(beside(model, only, option="only").parameters.values()) if only else set(model.parameters())
    wanted -= set(beside(model, freeze, option="freeze").parameters.values())
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter in wanted]
    if not trained:
        raise ConfigError("only, freeze: nothing is left to train; name less in freeze, or more in only")
    model.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)


class WholeModel(Method):
    def save(self, model: PreTrainedModel, folder: Path) -> None:
        model.save_pretrained(folder)

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        from tunelab.models.load import load_weights

        load_weights(model, folder)

    def merged(self, model: PreTrainedModel) -> PreTrainedModel:
        return model
