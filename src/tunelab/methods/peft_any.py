"""Any tuner of the installed PEFT by its type, with that PEFT config's own fields as options.

`peft_any: {type: VERA, r: 64}`. The layers, the files and the merging are PEFT's; data, optimizer and loop are ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, PositiveFloat, model_validator

from tunelab.backend_contract import Session, Updater
from tunelab.config.run import RunConfig
from tunelab.config.schema import Optimizer
from tunelab.contracts import Method
from tunelab.errors import ConfigError

if TYPE_CHECKING:
    import peft
    import torch
    from transformers import PreTrainedModel

    from tunelab.backend_contract import Order

TOTAL_STEP = "peft.total_step"


class PeftAny(Method):
    model_config = ConfigDict(extra="allow")
    """Further options are the PEFT config's fields, checked against it."""

    learning_rate: PositiveFloat = 1.0e-3
    """Tuners with few parameters want more than LoRA: their papers use 1e-3 to 1e-2."""

    type: str
    """The tuner, as PEFT names it: ADALORA, IA3, VERA, ... (`tunelab list methods` shows all)."""

    targets: str | tuple[str, ...] | None = None
    """Which linear layers are adapted: all-linear, attention, a list of names, or a regular expression. Without it
    all-linear, but PEFT's own choice for the architecture where the tuner is made for particular layers: IA3,
    LN_TUNING, TRAINABLE_TOKENS. PEFT's target_modules goes before both; LORA's target_parameters (fused experts) comes
    on top of either, `target_modules: []` leaves it alone."""

    @classmethod
    def example(cls) -> dict[str, Any]:
        return {"type": "RANDLORA"}

    @model_validator(mode="before")
    @classmethod
    def _check(cls, values: Any) -> Any:
        from tunelab.models.peft_fields import check

        if not isinstance(values, dict) or not isinstance(values.get("type"), str):
            return values
        options = {key: value for key, value in values.items() if key not in cls.model_fields}
        name = check(values["type"], options, config=_with_schedule)
        # What a "before" validator returns is no longer JSON to pydantic: its strict mode wants the tuple itself.
        targets = {"targets": tuple(values["targets"])} if isinstance(values.get("targets"), list) else {}
        return values | targets | {"type": name}

    @property
    def options(self) -> dict[str, Any]:
        """What goes into the PEFT config."""
        return dict(self.model_extra or {})

    @property
    def _targets(self) -> str | tuple[str, ...] | None:
        """None: PEFT chooses, or was told by its own option."""
        if "target_modules" in self.options:
            return None
        return self.targets or (None if self.type in OWN_TARGETS else "all-linear")

    @property
    def _parameters(self) -> tuple[str, ...]:
        """Ends of paths of parameters that are adapted beside the layers (PEFT's LORA alone): fused experts."""
        return tuple(self.options.get("target_parameters") or ())

    def remarks(self, model: PreTrainedModel) -> list[str]:
        from tunelab.models.targets import reach_remarks

        adapted = {} if self._targets is None else {"adapts": self._targets}
        return reach_remarks(model, adapted, parameters=self._parameters)

    def attach(self, model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
        from tunelab.models import peft_tuners

        return peft_tuners.attach(model, self._config(model), seed=seed)

    def _config(self, model: PreTrainedModel) -> peft.PeftConfig:
        from tunelab.kernels.peft_format import shortest_names
        from tunelab.models.peft_fields import has_option, make_config
        from tunelab.models.targets import check_parameters, is_transposed, linear_layers, select

        options = _with_schedule(self.type, self.options)
        check_parameters(model, self._parameters)
        if self._targets is not None:
            left_out = None if self._parameters else "stay frozen"  # who names parameters has seen that there are some
            chosen = select(model, self._targets, left_out=left_out)
            options["target_modules"] = shortest_names(linear_layers(model), list(chosen))
        if has_option(self.type, "fan_in_fan_out"):
            transposed = any(is_transposed(layer) for layer in linear_layers(model).values())
            options.setdefault("fan_in_fan_out", transposed)
        return make_config(self.type, options)

    def prepare(self, session: Session, order: Order, run: RunConfig) -> None:
        """A budget schedule over the run's steps needs their number."""
        if self.type == "ADALORA" and "total_step" not in self.options:
            self._set_total_step(session.model, order.num_steps)

    def _set_total_step(self, model: PreTrainedModel, steps: int) -> None:
        from tunelab.models import peft_tuners

        config = peft_tuners.config_of(model)
        if config.tinit >= steps - config.tfinal:
            given = f"tinit {config.tinit} and tfinal {config.tfinal}"
            raise ConfigError(f"peft_any ADALORA: {given} leave none of the run's {steps} steps to re-allocate ranks")
        config.total_step = steps

    def state(self, model: PreTrainedModel) -> dict[str, torch.Tensor]:
        import torch

        from tunelab.models import peft_tuners

        if self.type != "ADALORA":
            return {}
        return {TOTAL_STEP: torch.tensor(peft_tuners.config_of(model).total_step)}

    def load_state(self, model: PreTrainedModel, state: dict[str, torch.Tensor]) -> None:
        if TOTAL_STEP in state:
            self._set_total_step(model, int(state[TOTAL_STEP]))

    def updater(self, model: PreTrainedModel, rule: Optimizer) -> Updater | None:
        if self.type != "ADALORA":
            return None
        from tunelab.models import peft_tuners
        from tunelab.training.optim import SharedRule
        from tunelab.training.rank_allocation import RankAllocation

        tuner = peft_tuners.wrapper_of(model).base_model
        return RankAllocation(SharedRule(model, rule), tuner, adapter=peft_tuners.ADAPTER)

    @classmethod
    def saved_options(cls, folder: Path) -> dict[str, Any] | None:
        from tunelab.kernels.peft_format import read_config
        from tunelab.models import peft_tuners

        saved = read_config(folder)
        name = saved.get("peft_type")
        if name is None or name not in peft_tuners.tuner_names():
            return None
        if name == "LORA" and not saved.get("target_parameters"):
            return None  # of lora, qlora or dora, which read them
        from tunelab.models.peft_fields import changed_options

        return {"type": name, **changed_options(name, saved)}

    def save(self, model: PreTrainedModel, folder: Path) -> None:
        from tunelab.models import peft_tuners

        peft_tuners.save(model, folder)

    def load(self, model: PreTrainedModel, folder: Path) -> None:
        from tunelab.models import peft_tuners

        peft_tuners.load(model, folder)

    def merged(self, model: PreTrainedModel) -> PreTrainedModel:
        from tunelab.models import peft_tuners

        return peft_tuners.merged(model)


OWN_TARGETS = ("IA3", "LN_TUNING", "TRAINABLE_TOKENS")


def _with_schedule(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """AdaLoRA's config wants its number of steps, which only the run knows: any that its schedule allows until then."""
    if name != "ADALORA" or "total_step" in options:
        return dict(options)
    return {**options, "total_step": options.get("tinit", 0) + options.get("tfinal", 0) + 1}
