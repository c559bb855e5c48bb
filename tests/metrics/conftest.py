from collections.abc import Callable
from pathlib import Path

import pytest

from tunelab.records import Prediction


@pytest.fixture
def official_example(shared: Path) -> Callable[[str], list[Prediction]]:
    """Reads the E2E challenge script's own example inputs: outputs one a line, references in groups of lines."""

    def read(outputs: str) -> list[Prediction]:
        folder = shared / "data" / "e2e_official_example"
        texts = (folder / outputs).read_text(encoding="utf-8").removesuffix("\n").split("\n")
        groups = (folder / "example_devel-conc.txt").read_text(encoding="utf-8").strip().split("\n\n")
        return [
            Prediction(id=str(row), prompt="", prediction=text, references=tuple(group.split("\n")))
            for row, (text, group) in enumerate(zip(texts, groups, strict=True))
        ]

    return read
