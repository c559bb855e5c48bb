"""Summarisation, generated: a short news article becomes its headline."""

from __future__ import annotations

from types import ModuleType
from typing import ClassVar, final

from tunelab.data.examples.formats import TemplateText
from tunelab.data.examples.generated import GeneratedTask
from tunelab.data.synthetic import headlines


@final
class Headlines(GeneratedTask):
    generator: ClassVar[ModuleType] = headlines

    name: str = "headlines"
    prompt: TemplateText = "{article}\n"
    target: TemplateText = "{headline}"
    metrics: tuple[str, ...] = ("rouge_l", "bleu")
