"""Lists the benchmarks: what each measures, its command, and where results stand.

python scripts/list_benchmarks.py
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks"


def listing() -> str:
    """A block a benchmark, then the tables that no script here makes by itself."""
    blocks, told = [], set()
    for file in sorted(FOLDER.glob("*.py")):
        docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
        pattern = rf"^    ((?:[A-Z_]+=\S+ )*python benchmarks/{file.name}.*)$"  # settings may stand before it
        (command, *_) = re.findall(pattern, docstring, re.MULTILINE)
        tables = sorted(FOLDER.glob(f"{file.stem.replace('_', '-')}*.md"))
        told |= set(tables)
        lines = [docstring.splitlines()[0], command, *(table.relative_to(ROOT).as_posix() for table in tables)]
        blocks.append("\n".join([file.stem, *(f"    {line}" for line in lines)]))
    others = [table for table in sorted(FOLDER.glob("*.md")) if table not in told]
    titles = [f"    {table.relative_to(ROOT).as_posix()}: {table.read_text().splitlines()[0]}" for table in others]
    return "\n".join([*blocks, "Measured by `tunelab` commands, which the page gives", *titles])


if __name__ == "__main__":
    print(listing())
