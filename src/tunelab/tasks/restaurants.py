"""Data-to-text, generated: a record about a place to eat becomes a few sentences."""

from __future__ import annotations

from types import ModuleType
from typing import ClassVar, final

from pydantic import PositiveInt

from tunelab.data.examples.formats import TemplateText
from tunelab.data.examples.generated import GeneratedTask
from tunelab.data.synthetic import restaurants


@final
class Restaurants(GeneratedTask):
    generator: ClassVar[ModuleType] = restaurants

    name: str = "restaurants"
    prompt: TemplateText = "{meaning}\n"
    target: TemplateText = "{text}"
    test_rows: PositiveInt = 600
    """Three rows share a meaning, so that 600 rows are 200 examples with three references each."""

    metrics: tuple[str, ...] = ("bleu", "rouge_l")
