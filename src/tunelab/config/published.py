"""What others have published of a method that a study has, for its predictions to be held beside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import Field

from tunelab.config.section import Section


class Published(Section):
    peak_gb: Annotated[float, Field(gt=0)]
    """Of memory, in 10^9 bytes, on a GPU."""

    note: str = ""
    """Where it stands, and what would explain a difference."""


def published_problems(published: Mapping[str, Published], labels: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Keys of a study and what is wrong with them; no labels: its methods could not be read."""
    for name in published if labels else ():
        if name not in labels:
            yield f"published.{name}", f"no method of this study; there are {', '.join(labels)}"
