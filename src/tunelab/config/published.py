"""What others have published of a method that a study has, for its predictions to be held beside."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tunelab.config.section import Section


class Published(Section):
    peak_gb: Annotated[float, Field(gt=0)]
    """Of memory, in 10^9 bytes, on a GPU."""

    note: str = ""
    """Where it stands, and what would explain a difference."""
