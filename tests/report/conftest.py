"""Fixtures of the report's tests."""

from collections.abc import Iterator

import pytest

from report.browser import Chromium, find_chromium


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """Mark its tests slow: it is a process."""
    browser = Chromium(find_chromium(), tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()
