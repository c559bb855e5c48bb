import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tunelab.evaluation.java import METEOR, TOKENISER
from tunelab.records import Prediction


@pytest.fixture(scope="session")
def java() -> None:
    """Java and the extra `meteor`. Where they are missing the test is skipped; with TUNELAB_REQUIRE_ALL=1 it fails."""
    reason = TOKENISER.missing() or METEOR.missing()
    if reason and os.environ.get("TUNELAB_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


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
