"""Writes notebooks/*.ipynb anew, each from the plain source beside it: Python in the percent format.

    python scripts/notebook.py

`# %%` begins a cell of code, `# %% [markdown]` one of text in comments. Outputs are never kept. A test compares the
notebooks with what this makes, and executes them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
METADATA = {
    "accelerator": "GPU",
    "colab": {"gpuType": "T4", "provenance": [], "toc_visible": True},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
MARK = re.compile(r"^# %%(?: \[(markdown)\])?\n", re.MULTILINE)


def sources() -> list[Path]:
    return sorted(FOLDER.glob("*.py"))


def notebook(source: Path) -> Any:
    """The notebook of a source; its cells are numbered, so that making it again changes nothing."""
    before, *parts = MARK.split(source.read_text(encoding="utf-8"))
    assert not before.strip(), f"{source}: begins with a cell"
    pairs = zip(parts[::2], parts[1::2], strict=True)
    cells = [_cell(number, kind, text.strip("\n")) for number, (kind, text) in enumerate(pairs, start=1)]
    made = nbformat.v4.new_notebook(cells=cells, metadata=METADATA)
    nbformat.validate(made)
    return made


def text(source: Path) -> str:
    return nbformat.writes(notebook(source)) + "\n"


def _cell(number: int, kind: str | None, body: str) -> Any:
    identity = f"cell-{number}"
    if kind is None:
        return nbformat.v4.new_code_cell(body, id=identity)
    lines = body.split("\n")
    assert all(line == "#" or line.startswith("# ") for line in lines), f"text stands in comments: {body[:60]!r}"
    return nbformat.v4.new_markdown_cell("\n".join(line[2:] for line in lines), id=identity)


def main() -> None:
    for source in sources():
        source.with_suffix(".ipynb").write_text(text(source), encoding="utf-8")


if __name__ == "__main__":
    main()
