"""The Jittor back end as the catalogue finds it. Planned here; its runs execute in an environment of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, final

from tunelab.backend_contract import Backend, Memory, Session
from tunelab.backends.jittor import environment
from tunelab.backends.jittor.architecture import architecture, count_changes
from tunelab.config.run import RunConfig
from tunelab.config.schema import ModelSource, Precision, Products, StudyConfig
from tunelab.contracts import Method
from tunelab.device import num_cores
from tunelab.models.load import load_text, local_folder, locate, read_configuration
from tunelab.records import Limits, Located, ParameterCount, TextSide

METHODS = ("full", "lora")


@final
class Jittor(Backend):
    precisions: ClassVar[tuple[Products, ...]] = ("fp32",)
    opened_by: ClassVar[str] = "torch"

    def supports(self, method: str) -> bool:
        return method in METHODS

    def problems(self, study: StudyConfig) -> Iterator[tuple[str, str]]:
        if study.activation_checkpointing:
            yield "activation_checkpointing", "jittor has none; set it to false, or take torch alone"
        if study.weights != "fp32":
            yield "weights", f"jittor holds weights in fp32, not {study.weights}; leave it out, or take torch alone"
        if study.evaluation.engine != "torch":
            rule = "jittor runs generate by themselves (evaluation.engine: torch means the run's own back end)"
            yield "evaluation.engine", f"{study.evaluation.engine} needs torch; {rule}"
        if study.evaluation.harness:
            yield "evaluation.harness", "the harness asks models of torch; leave it out, or take torch alone"

    def command(self, module: str, *arguments: str) -> list[str]:
        return environment.command(module, *arguments)

    def missing(self) -> str:
        return environment.missing()

    def prepare(self, told: Callable[[str], None]) -> None:
        environment.prepare(told)

    def resolve(self, *, precision: Precision, threads: int | None) -> tuple[Products, int]:
        return "fp32", threads or num_cores()

    def count(self, model: ModelSource, method: Method | None) -> ParameterCount | None:
        configuration = read_configuration(model)
        if configuration is None:
            return None
        return count_changes(architecture(model, configuration), method)

    def limits(self, model: ModelSource) -> tuple[Limits, int | None] | None:
        configuration, folder = read_configuration(model), local_folder(model)
        if configuration is None:
            return None
        each = architecture(model, configuration)
        tokens = None
        if folder is not None:
            tokens = max(load_text(model, Located(folder, "")).tokenizer.get_vocab().values()) + 1
        return Limits(None, each.positions, each.vocabulary), tokens

    def locate(self, model: ModelSource) -> Located:
        return locate(model)

    def text(self, model: ModelSource, located: Located) -> TextSide:
        return load_text(model, located)

    def memory(self) -> Memory:
        from tunelab.training.telemetry import ResidentMemory

        return ResidentMemory()

    def device(self) -> str:
        return "cpu"

    def session(
        self, run: RunConfig, method: Method | None, *, located: Located, text: TextSide, notes: list[str]
    ) -> Session:
        from tunelab.backends.jittor.session import open_session

        return open_session(run, method, located=located, text=text, notes=notes)
