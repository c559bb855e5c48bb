"""A table as LaTeX in booktabs' style, for a paper. Needs the package booktabs and nothing else.

The file is plain ASCII. Letters with accents are written as LaTeX's commands; what those cannot write is named by its
number where pdfTeX reads the file, and set as it is by XeTeX and LuaTeX, if the document's font has it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from tunelab.report.tables import Cell, Table, visible

LETTER = r"""\ifdefined\tunelabletter\else
  \ifdefined\pdftexversion
    \protected\def\tunelabletter#1{\texttt{U+#1}}%
  \else
    \protected\def\tunelabletter#1{\char"#1\relax}%
  \fi
\fi"""
"""Defines how a letter is written that LaTeX has no command for."""

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "{''}", "'": "{'}", "`": "{`}", "[": "{[}", "]": "{]}", "-": "{-}", "*": "{*}",
    "–": r"\textendash{}", "—": r"\textemdash{}", "−": "$-$", "…": r"\dots{}", "×": r"$\times$", "±": r"$\pm$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\rightarrow$", "≤": r"$\leq$", "≥": r"$\geq$", "·": r"$\cdot$",
    "β": r"$\beta$", "µ": r"$\mu$", "μ": r"$\mu$", "°": r"$^{\circ}$", "\u00a0": "~",
    "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}",
    "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}",
}  # fmt: skip
"""Hyphens, brackets and stars are kept apart from what stands beside them: no ligature, no argument of a line's end."""

ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u0304": "=", "\u0307": ".",
    "\u0306": "u", "\u030c": "v", "\u030b": "H", "\u0327": "c", "\u030a": "r",
}  # fmt: skip


def latex(tables: Sequence[Table]) -> str:
    """A floating table each, with its footnotes below it."""
    head = "% Written by tunelab. Needs \\usepackage{booktabs}; \\input{comparison.tex} where the tables shall stand."
    return "\n".join([head, LETTER, *map(_one, tables)]) + "\n"


def escaped_latex(text: str) -> str:
    """Text as LaTeX that shows it, in ASCII."""
    return "".join(map(_letter, unicodedata.normalize("NFC", visible(text))))


def _one(table: Table) -> str:
    form = "".join("r" if column.number else "l" for column in table.columns)
    heads = [[escaped_latex(column.title) for column in table.columns]]
    if any(column.unit for column in table.columns):
        heads.append([f"({escaped_latex(column.unit)})" if column.unit else "" for column in table.columns])
    lines = [
        r"\begin{table}[htbp]", r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        *([rf"\caption{{{escaped_latex(table.caption)}}}"] if table.caption else []),
        rf"\begin{{tabular}}{{@{{}}{form}@{{}}}}", r"\toprule",
        *(_line(head) for head in heads), r"\midrule",
        *(line for row in table.rows for line in _row(row)),
        r"\bottomrule", r"\end{tabular}",
        *(rf"\par\smallskip\parbox{{\linewidth}}{{\scriptsize {escaped_latex(foot)}}}" for foot in table.feet),
        r"\end{table}",
    ]  # fmt: skip
    return "\n".join(lines)


def _row(row: Sequence[Cell]) -> list[str]:
    """The second line of a cell is a line of its own, close to the first."""
    lines = [_line([_cell(cell) for cell in row])]
    if any(cell.below for cell in row):
        below = [rf"{{\scriptsize {escaped_latex(cell.below)}}}" if cell.below else "" for cell in row]
        lines.append(_line(below) + "[2pt]")
    return lines


def _cell(cell: Cell) -> str:
    text = escaped_latex(cell.text)
    bold = rf"\textbf{{{text}}}" if cell.tone == "best" else text
    return bold + (rf"\textsuperscript{{{escaped_latex(cell.marks)}}}" if cell.marks else "")


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _letter(letter: str) -> str:
    if letter in SPECIAL:
        return SPECIAL[letter]
    if letter.isascii():
        return letter
    parts = unicodedata.normalize("NFD", letter)
    if len(parts) == 2 and parts[0].isascii() and parts[0].isalpha() and parts[1] in ACCENTS:
        return rf"\{ACCENTS[parts[1]]}{{{parts[0]}}}"
    return rf"\tunelabletter{{{ord(letter):04X}}}"
