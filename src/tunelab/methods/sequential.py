"""Sequential: several methods one after the other in one run; each begins with what the one before has learned.

At a part's last step its result is merged into the weights, and the next part attaches to those, with an optimizer of
its own that starts from nothing. The run's examples, order, budget and learning-rate schedule go through unbroken.
A base in 4 bits is quantised when its part begins, so that full-precision training comes before quantisation.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import PositiveFloat, model_validator

from tunelab.backend_contract import Session, Updater
from tunelab.contracts import Method, Parts
from tunelab.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tunelab.backend_contract import Order
    from tunelab.config.run import RunConfig
    from tunelab.config.schema import Optimizer

FILE, FROZEN, LAST = "sequential.json", "frozen.safetensors", "last"
_PART = "tunelab_part"
"""An attribute of the model: which part is attached to it."""


class Sequential(Method):
    learning_rate: PositiveFloat = 2.0e-5
    """Peak of the first part; left out in a study: the first part's own. The others keep their ratio to it."""

    parts: Parts
    """Methods in the order in which they train, each with its own options."""

    shares: tuple[PositiveFloat, ...] = ()
    """Share of the run's steps that each part makes; they add up to 1. Empty: equal ones."""

    @model_validator(mode="after")
    def _one_share_a_part(self) -> Sequential:
        if self.shares and len(self.shares) != len(self.parts):
            raise ValueError(f"shares: {len(self.shares)} of them for {len(self.parts)} parts; give one a part")
        if self.shares and abs(sum(self.shares) - 1.0) > 1e-6:
            raise ValueError(f"shares: add up to {sum(self.shares):g}, and must add up to 1")
        return self

    @classmethod
    def example(cls) -> dict[str, Any]:
        return {"parts": [{"full": {"learning_rate": 1e-2}}, {"lora": {"learning_rate": 1e-2}}]}

    @property
    def documented_rate(self) -> float:
        """The first part's rate, given or documented: the others keep their ratio to it."""
        return self.members[0].learning_rate

    def summary(self, parts: tuple[str, ...]) -> str:
        return " then ".join(parts)

    # ------------------------------------------------------------ which part when

    def last_steps(self, num_steps: int) -> list[int]:
        """The number of each part's last step."""
        shares = self.shares or (1 / len(self.parts),) * len(self.parts)
        return [round(sum(shares[: index + 1]) * num_steps) for index in range(len(shares))]

    def part_at(self, number: int, num_steps: int) -> int:
        return next(part for part, last in enumerate(self.last_steps(num_steps)) if number <= last)

    def rate_in(self, part: int) -> float:
        return self.members[part].learning_rate / self.members[0].learning_rate

    def prepare(self, session: Session, order: Order, run: RunConfig) -> None:
        lasts = self.last_steps(order.num_steps)
        if order.num_steps and any(last == before for before, last in zip([0, *lasts], lasts, strict=False)):
            raise ConfigError(
                f"sequential: of {order.num_steps} steps the parts would end at {', '.join(map(str, lasts))}, so that "
                "one of them trains nothing; give it a larger share or a larger budget"
            )
        self._present(session.model).prepare(session, order, run)

    # ------------------------------------------------------------ the part that is attached

    def _present(self, model: PreTrainedModel) -> Method:
        return self.members[getattr(model, _PART)]

    @property
    def base_storage(self) -> str:
        """The last part's: the result is held as it left it."""
        return self.members[-1].base_storage

    @property
    def read_as(self) -> str:
        return self.members[0].read_as

    def hold(self, model: PreTrainedModel, *, seed: int) -> None:
        self.members[0].hold(model, seed=seed)

    def attach(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        return self._attach(model, 0, seed=seed)

    def _attach(self, model: PreTrainedModel, part: int, *, seed: int) -> PreTrainedModel:
        attached = self.members[part].attach(model, seed=seed)
        setattr(attached, _PART, part)
        return attached

    def enter(self, model: PreTrainedModel, part: int, *, seed: int) -> PreTrainedModel:
        plain = self._present(model).merged(model)
        if plain is model:
            _renew_parameters(plain)
        return self._attach(plain, part, seed=seed)

    def updater(self, model: PreTrainedModel, rule: Optimizer) -> Updater:
        from tunelab.training.composite import updater_of

        return updater_of(self._present(model), model, rule)

    def state(self, model: PreTrainedModel) -> dict[str, torch.Tensor]:
        own = self._present(model).state(model)
        frozen = {name: value for name, value in self._frozen(model).items() if name not in own}
        states = {"own": own, "frozen": frozen}
        return {f"{kind}.{name}": value for kind, state in states.items() for name, value in state.items()}

    def load_state(self, model: PreTrainedModel, state: dict[str, torch.Tensor]) -> None:
        own = {name.removeprefix("own."): value for name, value in state.items() if name.startswith("own.")}
        self._present(model).load_state(model, own)
        self._restore(
            model, {name.removeprefix("frozen."): v for name, v in state.items() if name.startswith("frozen.")}
        )

    def _frozen(self, model: PreTrainedModel) -> dict[str, torch.Tensor]:
        """What earlier parts have moved and the present one holds still, codes of a quantised base included. Nothing
        while the first part trains: it starts from the base model."""
        if getattr(model, _PART) == 0:
            return {}
        kept = set(model.state_dict())  # without what the model computes for itself
        still = {name: value for name, value in model.named_parameters() if not value.requires_grad}
        return still | {name: value for name, value in model.named_buffers() if name in kept}

    def _restore(self, model: PreTrainedModel, frozen: dict[str, torch.Tensor]) -> None:
        own = dict(model.named_parameters()) | dict(model.named_buffers())
        for name, value in frozen.items():
            if name not in own or own[name].shape != value.shape:
                raise ModelError(f"sequential: {name}, as it was saved, does not fit this model")
            own[name].data = value.to(own[name].device, copy=True)

    # ------------------------------------------------------------ the result

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        """`sequential.json` says which part is last; `frozen.safetensors` holds what it attaches to, names as in the
        attached model; `last/` is what that part's own method saves."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(json.dumps({"part": getattr(model, _PART)}) + "\n")
        frozen = {name: value.detach().cpu().contiguous() for name, value in self._frozen(model).items()}
        if frozen:
            save_file(frozen, folder / FROZEN, metadata={"format": "pt"})
        self._present(model).save(model, folder / LAST)

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        from tunelab.kernels.peft_format import read_tensors

        if not (folder / FILE).exists():
            raise ModelError(f"{folder}: no {FILE} in it; what a sequential run saved is wanted")
        saved = json.loads((folder / FILE).read_text())["part"]
        if saved >= len(self.members):
            raise ModelError(f"{folder}: saved in part {saved + 1}, and there are {len(self.members)}")
        attached = model
        for part in range(getattr(model, _PART) + 1, saved + 1):
            attached = self.enter(attached, part, seed=0)  # for its structure: every value is read below
            for parameter in attached.parameters():
                if parameter.requires_grad:  # a narrow copy of a frozen weight would round what is read
                    parameter.data = parameter.data.float()
        if (folder / FROZEN).exists():
            self._restore(attached, read_tensors(folder / FROZEN))
        self._present(attached).load(attached, folder / LAST)
        if attached is not model:  # the caller holds `model`: it becomes what is attached
            model.__class__ = type(attached)
            model.__dict__ = attached.__dict__

    def merged(self, model: PreTrainedModel) -> PreTrainedModel:
        return self._present(model).merged(model)


def _renew_parameters(model: PreTrainedModel) -> None:
    """Other parameters over the same storage: what the updater before has hooked on the old ones goes with them."""
    from torch import nn

    renewed: dict[nn.Parameter, nn.Parameter] = {}
    for module in model.modules():
        for name, old in module._parameters.items():
            if old is not None:
                module._parameters[name] = renewed.setdefault(old, nn.Parameter(old.data))
