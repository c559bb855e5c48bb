"""The pages that a user reads, and what stands in their fences."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


def script(name: str) -> ModuleType:
    """A module of scripts/, which is no package."""
    specification = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


SITE = script("docs_site")
PAGES = SITE.pages()
"""Page -> its place in the site."""
WRITTEN = [page for page in PAGES if page.parent.name != "benchmarks" and page.name != "CHANGELOG.md"]
"""Those that say how to use tunelab as it is; the others say what was once measured or changed."""


class Block(NamedTuple):
    page: str
    line: int
    language: str
    """As the fence says; '' where it says none."""
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    text, name = page.read_text(), page.relative_to(ROOT).as_posix()
    return [
        Block(name, text.count("\n", 0, match.start()) + 1, match[1], match[2])
        for match in re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


BLOCKS = [block for page in WRITTEN for block in blocks_of(page)]


def of(*languages: str) -> list[Block]:
    found = [block for block in BLOCKS if block.language in languages]
    assert found, f"no page has a block of {languages}"
    return found


def prose(page: Path) -> str:
    """The text outside fences."""
    return "".join(SITE.FENCED.split(page.read_text())[::2])
