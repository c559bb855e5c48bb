"""Layerwise: some layers of a model by one method, all others by another, in the same steps.

Each method sees only its own linear layers; what is no linear layer (embeddings, norms, the output head) belongs to
the second. One gradient norm and one clip over both; each has its own update rule and learning rate.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PositiveFloat

from tunelab.backend_contract import Session, Updater
from tunelab.contracts import Method, Parts
from tunelab.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tunelab.backend_contract import Order
    from tunelab.config.run import RunConfig
    from tunelab.config.schema import Optimizer

FOLDERS = ("first", "second")
_LAYERS = "tunelab_layers"
"""An attribute of the model: module paths of the first method's layers and of the second's."""


class Layerwise(Method):
    learning_rate: PositiveFloat = 2.0e-5
    """Peak of the first method; left out in a study: the first method's own. The other keeps its ratio to it."""

    parts: Annotated[Parts, Field(max_length=2)]
    """Two methods, each with its own options."""

    first: str | tuple[str, ...] = "attention"
    """The linear layers of the first method: attention, a list of names, or a regular expression."""

    @classmethod
    def example(cls) -> dict[str, Any]:
        return {"parts": [{"full": {"learning_rate": 1e-2}}, {"lora": {"learning_rate": 1e-2}}]}

    @property
    def documented_rate(self) -> float:
        """The first part's rate, given or documented: the others keep their ratio to it."""
        return self.members[0].learning_rate

    def summary(self, parts: tuple[str, ...]) -> str:
        return " + ".join(parts)

    def prepare(self, session: Session, order: Order, run: RunConfig) -> None:
        for part, member in zip(self.parts, self.members, strict=True):
            if member.prepares:
                raise ConfigError(
                    f"layerwise: {next(iter(part))} looks at data before it trains, and cannot do so for some layers "
                    "only; use it in `sequential` or alone"
                )

    @property
    def base_storage(self) -> str:
        return next((each.base_storage for each in self.members if each.base_storage != "float"), "float")

    # ------------------------------------------------------------ what each method sees

    @contextmanager
    def _view(self, model: PreTrainedModel, index: int) -> Iterator[Method]:
        """The model as one of the methods sees it. Gives that method."""
        from tunelab.models.hiding import frozen_but, hidden

        layers = getattr(model, _LAYERS)
        with ExitStack() as stack:
            stack.enter_context(hidden(model, layers[1 - index]))
            if index == 0:
                stack.enter_context(frozen_but(model, layers[0]))
            yield self.members[index]

    def hold(self, model: PreTrainedModel, *, seed: int) -> None:
        """Each method its own layers."""
        from tunelab.models.hiding import hidden

        first, second = self._shared_out(model)
        for index, member in enumerate(self.members):
            with hidden(model, (second, first)[index]):
                member.hold(model, seed=seed)

    def _shared_out(self, model: PreTrainedModel) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Module paths of the first method's layers and of the second's."""
        from tunelab.models.targets import linear_layers, select

        first = tuple(select(model, self.first))
        second = tuple(name for name in linear_layers(model) if name not in first)
        if not second:
            raise ConfigError(f"first: '{self.first}' is every linear layer, and the second method has none left")
        return first, second

    def attach(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        from tunelab.models.hiding import hidden

        if getattr(self.members[0], "also", ()):
            raise ConfigError("also: what is no linear layer belongs to the second method of layerwise; name it there")
        first, second = self._shared_out(model)
        setattr(model, _LAYERS, (first, second))
        trained = set()
        for index, member in enumerate(self.members):
            with hidden(model, (second, first)[index]):
                if member.attach(model, seed=seed) is not model:
                    name = next(iter(self.parts[index]))
                    raise ConfigError(f"layerwise: {name} wraps the whole model, and cannot have some of its layers")
            trained |= {parameter for parameter in self._own(model, index) if parameter.requires_grad}
        for parameter in model.parameters():
            parameter.requires_grad_(parameter in trained)
        return model

    def remarks(self, model: PreTrainedModel) -> list[str]:
        from tunelab.models.targets import reach_remarks

        return reach_remarks(model, {"shares out": ".*"})

    def _own(self, model: PreTrainedModel, index: int) -> list[torch.nn.Parameter]:
        """The parameters that belong to a method."""
        from tunelab.models.hiding import lies_in

        first = getattr(model, _LAYERS)[0]
        return [value for name, value in model.named_parameters() if lies_in(name, first) == (index == 0)]

    # ------------------------------------------------------------ both in one

    def updater(self, model: PreTrainedModel, rule: Optimizer) -> Updater:
        from tunelab.training.composite import Share, Together, updater_of

        shares = []
        for index, part in enumerate(self.parts):
            with self._view(model, index) as member:
                rate = member.learning_rate / self.members[0].learning_rate
                shares.append(Share(next(iter(part)), updater_of(member, model, rule), rate))
        return Together(shares)

    def state(self, model: PreTrainedModel) -> dict[str, torch.Tensor]:
        found = {}
        for index in range(len(self.members)):
            with self._view(model, index) as member:
                found |= {f"{index}.{name}": value for name, value in member.state(model).items()}
        return found

    def load_state(self, model: PreTrainedModel, state: dict[str, torch.Tensor]) -> None:
        for index in range(len(self.members)):
            start = f"{index}."
            with self._view(model, index) as member:
                own = {name.removeprefix(start): v for name, v in state.items() if name.startswith(start)}
                member.load_state(model, own)

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        """`first/` and `second/`: what each method saves of its own layers."""
        for index, name in enumerate(FOLDERS):
            with self._view(model, index) as member:
                member.save(model, folder / name)

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        for index, name in enumerate(FOLDERS):
            with self._view(model, index) as member:
                member.load(model, folder / name)

    def merged(self, model: PreTrainedModel) -> PreTrainedModel:
        from tunelab.models.hiding import reveal

        model = copy.deepcopy(model)
        for index in range(len(self.members)):
            with self._view(model, index) as member:
                plain = member.merged(model)
            model = reveal(plain)
        return model
