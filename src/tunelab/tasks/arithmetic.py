"""Word problems, generated: a question becomes its steps and '#### answer'."""

from __future__ import annotations

from types import ModuleType
from typing import ClassVar, final

from tunelab.data.examples.formats import TemplateText
from tunelab.data.examples.generated import GeneratedTask
from tunelab.data.synthetic import arithmetic


@final
class Arithmetic(GeneratedTask):
    generator: ClassVar[ModuleType] = arithmetic

    name: str = "arithmetic"
    prompt: TemplateText = "{question}\n"
    target: TemplateText = "{answer}"
    metrics: tuple[str, ...] = ("exact_match",)
