"""Ensemble: several finished runs answer together: the mean of their log-probabilities, token by token. Trains nothing.

Every model is kept and run: its size, memory and time are the sum of theirs (Hansen and Salamon 1990). With
`mean: probabilities` the models' distributions themselves are averaged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, model_validator

from tunelab.contracts import Method
from tunelab.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tunelab.models.ensemble import Ensemble as Models


class Ensemble(Method):
    learning_rate: None = None
    """None: nothing is trained."""

    of: Annotated[tuple[str, ...], Field(min_length=2)]
    """Labels of methods of the same study; their runs on the same task and seed answer together."""

    weights: tuple[NonNegativeFloat, ...] = ()
    """One a run, divided by their sum; empty: equal ones."""

    mean: Literal["log_probabilities", "probabilities"] = "log_probabilities"
    """log_probabilities: geometric, made to add up to 1 again. probabilities: arithmetic, as of a vote."""

    trains: ClassVar[bool] = False
    one_model: ClassVar[bool] = False

    @model_validator(mode="after")
    def _fits_together(self) -> Ensemble:
        if twice := [label for label in self.of if self.of.count(label) > 1]:
            raise ValueError(f"of: '{twice[0]}' stands there twice")
        if self.weights and len(self.weights) != len(self.of):
            raise ValueError(f"weights: {len(self.weights)} of them for {len(self.of)} runs; give one a run")
        if self.weights and not sum(self.weights):
            raise ValueError("weights: all of them are 0")
        return self

    @property
    def needs(self) -> tuple[str, ...]:
        return self.of

    def summary(self, parts: Sequence[str]) -> str:
        return f"of {' + '.join(self.of)}"

    @property
    def base_storage(self) -> str:
        """In 4 bits where one of its models is: then all of them generate as they are."""
        return next((each.base_storage for each in self.members if each.base_storage != "float"), "float")

    @property
    def read_as(self) -> str:
        """In 4 bits where each of its models has the whole base so: what is copied for them is that."""
        alike = all(member.read_as == "nf4" and not member.members for member in self.members)
        return "nf4" if alike else "float"

    def hold(self, model: PreTrainedModel, *, seed: int) -> None:
        self.members[0].hold(model, seed=seed)

    def attach(self, model: PreTrainedModel, *, seed: int) -> Models:
        return self._together([member.attach(copy.deepcopy(model), seed=seed) for member in self.members])

    def _together(self, models: Sequence[PreTrainedModel]) -> Models:
        from tunelab.models.ensemble import Ensemble as Models

        return Models(models, self.weights or (1.0,) * len(self.of), mean=self.mean)

    def combine(
        self, model: Models, folders: Sequence[Path], *, seed: int, validation_loss: Callable[[], float]
    ) -> list[str]:
        for member, network, folder in zip(self.members, model.models, folders, strict=True):
            member.load(network, folder)
        return [f"every answer is computed by {len(folders)} models, and saved_mib is the sum of theirs"]

    def save(self, model: Models, folder: Path) -> None:
        """`0/`, `1/`, ...: what each run's own method saves, so that the ensemble does not need their folders."""
        for index, (member, network) in enumerate(zip(self.members, model.models, strict=True)):
            member.save(network, folder / str(index))

    def load(self, model: Models, folder: Path) -> None:
        for index, (member, network) in enumerate(zip(self.members, model.models, strict=True)):
            if not (folder / str(index)).is_dir():
                raise ModelError(f"{folder}: holds no model {index}, and the ensemble has {len(self.members)}")
            member.load(network, folder / str(index))

    def merged(self, model: Models) -> Models:
        """The same models, with plain weights each."""
        return self._together([member.merged(one) for member, one in zip(self.members, model.models, strict=True)])
