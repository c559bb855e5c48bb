"""Builds the documentation as a site to read on this machine: build/docs/site/index.html.

    python scripts/docs_site.py        (or: make docs)

README.md, CONTRIBUTING.md, CHANGELOG.md, docs/ and benchmarks/ are laid out as one tree whose links hold inside it (a
link to a source file becomes its path), and zensical builds that by mkdocs.yml, strictly: a warning is an error.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILT = ROOT / "build" / "docs"
FENCED = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
ELSEWHERE = ("http://", "https://", "mailto:", "#")


def pages(root: Path = ROOT) -> dict[Path, Path]:
    """Page in the repository -> its place in the site's tree."""
    placed = {root / name: Path(name) for name in ("CONTRIBUTING.md", "CHANGELOG.md")}
    placed[root / "README.md"] = Path("index.md")
    placed |= {page: page.relative_to(root / "docs") for page in sorted((root / "docs").rglob("*.md"))}
    placed |= {page: page.relative_to(root) for page in sorted((root / "benchmarks").glob("*.md"))}
    return placed


def links(text: str) -> list[str]:
    """Targets of the links and images outside fenced blocks, those to other hosts left out."""
    prose = "".join(FENCED.split(text)[::2])
    return [target for _, target in LINK.findall(prose) if not target.startswith(ELSEWHERE)]


def laid_out(page: Path, placed: dict[Path, Path], *, keep: Callable[[Path], Path], root: Path = ROOT) -> str:
    """A page's text with links for the site. `keep` places a picture and returns where.

    Raises:
        ValueError: a link leads nowhere.
    """
    here = placed[page].parent

    def changed(match: re.Match[str]) -> str:
        label, target = match.groups()
        if target.startswith(ELSEWHERE):
            return match[0]
        path, hash_mark, anchor = target.partition("#")
        there = (page.parent / path).resolve()
        if not there.exists():
            raise ValueError(f"{page.relative_to(root)}: {target} is not there")
        if there in placed:
            return f"[{label}]({os.path.relpath(placed[there], here)}{hash_mark}{anchor})"
        if there.suffix in (".png", ".svg"):
            return f"[{label}]({os.path.relpath(keep(there), here)})"
        return f"{label} (`{there.relative_to(root)}`)" if label.strip("`") not in str(there) else label

    parts = FENCED.split(page.read_text())
    parts[::2] = [LINK.sub(changed, part) for part in parts[::2]]
    return "".join(parts)


def lay_out(folder: Path) -> None:
    """Writes every page and its pictures below `folder`, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    placed = pages()

    def keep(picture: Path) -> Path:
        place = Path("images") / picture.name
        (folder / "images").mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, folder / place)
        return place

    for page, place in placed.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(laid_out(page, placed, keep=keep))


def build(built: Path = BUILT) -> Path:
    """Builds the site below `built` and returns its first page.

    Raises:
        CalledProcessError: zensical warns or fails; it has printed why.
    """
    lay_out(built / "pages")
    configuration = built / "mkdocs.yml"
    text = (ROOT / "mkdocs.yml").read_text()
    configuration.write_text(re.sub(r"^(docs_dir|site_dir): build/docs/", r"\1: ", text, flags=re.MULTILINE))
    # zensical keeps what it rendered in .cache beside the configuration; --clean empties that
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "--config-file", str(configuration)]
    subprocess.run(command, check=True, cwd=built, env=os.environ | {"NO_COLOR": "1"})
    return built / "site" / "index.html"


if __name__ == "__main__":
    try:
        first = build()
    except subprocess.CalledProcessError as failed:
        sys.exit(failed.returncode)
    print(f"{first}\nWith its search: python -m http.server --bind 127.0.0.1 --directory {first.parent}")
