"""Writes the file tree of docs/house.md anew: every module below src/tunelab with what it says of itself first.

    python scripts/house_tree.py

A test compares the page with what this makes.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "tunelab"
PAGE = ROOT / "docs" / "house.md"
FOLDED = {
    "data/synthetic": "generated restaurants, arithmetic, headlines, chat, and general text (own word lists)",
    "models/known": "configurations of well-known models, so that planning them needs no network",
    "models/tiny": "the embedded base models: configuration, tokenizer, bf16 weights",
    "studies": "bundled studies, one YAML each: `tunelab list studies`",
}
"""Folders shown as one line."""
ORDER = [
    "cli.py", "commands", "__init__.py", "__main__.py", "api", "launch", "slurm", "export", "report", "studies",
    "study",
    "backends", "methods", "trackers", "training", "models", "kernels", "tasks", "metrics", "evaluation",
    "significance", "data", "catalogue.py", "contracts.py", "backend_contract.py", "tracker_contract.py", "config",
    "records.py", "entries.py", "computation", "device.py", "ownership.py", "files.py", "stages.py", "near.py",
    "errors.py",
    "study/verbs", "study/foresight", "study/executing", "study/planning", "study/store.py", "study/evaluations.py",
    "study/record_files.py", "study/counts.py",
    "data/overlap", "data/sets", "data/tokens", "data/examples", "data/reading", "data/synthetic",
    "data/cache.py", "data/kept.py",
]  # fmt: skip
"""From the top floor down; what is not named follows by name."""
START, END = "<!-- tree: python scripts/house_tree.py -->", "<!-- end of tree -->"
WIDTH = 92
COLUMN = 28
"""Where the docstrings begin."""


def first_line(file: Path) -> str:
    """The docstring's first paragraph as far as a clause fits."""
    paragraph = " ".join((ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n\n")[0].split())
    if len(paragraph) <= WIDTH:
        return paragraph
    ends = [match.start() for match in re.finditer(r"(?<!\d)[.;](?= )", paragraph) if 24 <= match.start() < WIDTH]
    return paragraph[: ends[-1]] if ends else paragraph[: WIDTH - 1].rsplit(" ", 1)[0] + " …"


def place(path: Path) -> tuple[int, bool, str]:
    name = path.relative_to(SOURCE).as_posix()
    return ORDER.index(name) if name in ORDER else len(ORDER), path.is_dir(), name


def lines(folder: Path, depth: int) -> list[str]:
    entries = [path for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()]
    entries = [path for path in entries if path.name != "__pycache__" and not path.name.endswith(".egg-info")]
    if folder == SOURCE:
        unknown = {path.name for path in entries} - set(ORDER)
        assert not unknown, f"give {unknown} a place in ORDER"
    made = []
    for path in sorted(entries, key=place):
        pad, name = "  " * depth, path.relative_to(SOURCE).as_posix()
        if name in FOLDED:
            made.append(f"{pad}{path.name + '/':<{COLUMN - len(pad)}} {FOLDED[name]}")
        elif path.is_dir():
            line = first_line(path / "__init__.py")
            made.append(f"{pad}{path.name + '/':<{COLUMN - len(pad)}} {line}".rstrip())
            made += lines(path, depth + 1)
        elif path.name != "__init__.py" or folder == SOURCE:
            made.append(f"{pad}{path.name:<{COLUMN - len(pad)}} {first_line(path)}")
    return made


def tree() -> str:
    return "\n".join([START, "```", "src/tunelab/", *lines(SOURCE, 1), "```", END])


def main() -> None:
    pattern = re.compile(re.escape(START) + ".*" + re.escape(END), re.DOTALL)
    PAGE.write_text(pattern.sub(lambda match: tree(), PAGE.read_text()))


if __name__ == "__main__":
    main()
