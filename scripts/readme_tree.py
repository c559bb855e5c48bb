"""Writes the file tree of the README anew: every module below src/tunelab with the first line of its docstring.

    python scripts/readme_tree.py

A test compares the README with what this makes.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "tunelab"
FOLDED = {
    "data/synthetic": "generated restaurants, arithmetic, headlines, chat, and the pretraining text (own word lists)",
    "models/known": "configurations of well-known models, so that planning them needs no network",
    "models/tiny": "the embedded base models: configuration, tokenizer, bf16 weights",
    "studies": "bundled studies, one YAML each: `tunelab list studies`",
}
"""Folders shown as one line."""
ORDER = [
    "cli.py", "__init__.py", "__main__.py", "launch", "report", "export", "studies", "study", "backends", "methods",
    "training", "kernels", "models", "evaluation", "tasks", "metrics", "config", "data", "contracts.py", "catalogue.py",
    "records.py", "files.py", "near.py", "errors.py",
]  # fmt: skip
"""From the top floor down; inside a folder by name."""
START, END = "<!-- tree: python scripts/readme_tree.py -->", "<!-- end of tree -->"
WIDTH = 96


def first_line(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    line = docstring.splitlines()[0] if docstring else ""
    return line if len(line) <= WIDTH else line[: WIDTH - 1].rsplit(" ", 1)[0] + " …"


def lines(folder: Path, depth: int) -> list[str]:
    entries = [path for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()]
    entries = [path for path in entries if path.name != "__pycache__" and not path.name.endswith(".egg-info")]
    if folder == SOURCE:
        unknown = {path.name for path in entries} - set(ORDER)
        assert not unknown, f"give {unknown} a place in ORDER"
        entries.sort(key=lambda path: ORDER.index(path.name))
    else:
        entries.sort(key=lambda path: (path.is_dir(), path.name))
    made = []
    for path in entries:
        pad, name = "  " * depth, path.relative_to(SOURCE).as_posix()
        if name in FOLDED:
            made.append(f"{pad}{path.name + '/':<{24 - len(pad)}} {FOLDED[name]}")
        elif path.is_dir():
            made += [f"{pad}{path.name}/", *lines(path, depth + 1)]
        elif path.name != "__init__.py" or folder == SOURCE:
            made.append(f"{pad}{path.name:<{24 - len(pad)}} {first_line(path)}")
    return made


def tree() -> str:
    return "\n".join([START, "```", "src/tunelab/", *lines(SOURCE, 1), "```", END])


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text()
    pattern = re.compile(re.escape(START) + ".*" + re.escape(END), re.DOTALL)
    readme.write_text(pattern.sub(lambda match: tree(), text))


if __name__ == "__main__":
    main()
