"""The base of every section of a study."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of every section of a study."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
