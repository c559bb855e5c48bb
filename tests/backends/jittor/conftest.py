import os

import pytest

from tunelab.backends.jittor import environment


@pytest.fixture(scope="session")
def jittor() -> None:
    """Jittor, prepared. Where it is missing the test is skipped; with TUNELAB_REQUIRE_ALL=1 it fails."""
    if reason := environment.missing():
        (pytest.fail if os.environ.get("TUNELAB_REQUIRE_ALL") == "1" else pytest.skip)(reason)
