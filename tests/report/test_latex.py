"""comparison.tex compiles: by a strict reader, and by pdflatex where it is installed (TeX Live 2022 took it)."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from report.study_folder import HOSTILE, METRICS, write_study
from tunelab.report.latex import escaped_latex
from tunelab.report.write import write_report

LABEL = rf"lora_r=4 {HOSTILE} é ü Ł 中 😀 $x_1^2$ \ ~ [a] % # & ß ś -- ``'' *"
KNOWN = {
    "begin", "end", "caption", "centering", "footnotesize", "scriptsize", "setlength", "tabcolsep", "toprule",
    "midrule", "bottomrule", "textbf", "textsuperscript", "par", "smallskip", "parbox", "linewidth", "tunelabletter",
    "uparrow", "downarrow", "textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater", "textbar",
    "textendash", "dots", "ss", "L",
}  # fmt: skip
"""Commands of LaTeX without a package, of booktabs, and our own."""


@pytest.fixture(scope="module")
def tex(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tex")
    study = write_study(folder, methods=("base", "full", LABEL), tasks=("restaurants", HOSTILE), num_examples=20)
    write_report(study, metrics=METRICS, folder=folder, config_facts={})
    return folder / "comparison.tex"


def compile_it(tex):
    whole = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{comparison.tex}\end{document}"
    (tex.parent / "whole.tex").write_text(whole)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "whole.tex"]
    done = subprocess.run(command, cwd=tex.parent, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.slow
def test_every_text_is_escaped_and_every_line_has_all_its_cells(tex):
    text = tex.read_text(encoding="ascii")
    body = text[text.index(r"\begin{table}") :]
    assert body.count(r"\begin{table}") == body.count(r"\end{table}") == 3, "the matrix and two tasks"
    bare = re.sub(r"\\[\\{}$&#%_'`^~\"=.]", "", body)
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
    assert not set("#%~^_") & set(bare), "characters that mean something to TeX"
    assert set(re.findall(r"\\([A-Za-z]+)", body)) <= KNOWN
    for table in re.findall(r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}(.*?)\\end\{tabular\}", body, flags=re.DOTALL):
        lines = [line for line in table[1].splitlines() if line.endswith((r"\\", r"\\[2pt]"))]
        assert len(lines) >= 7
        for line in lines:
            assert len(re.findall(r"(?<!\\)&", line)) == len(table[0]) - 1, line
    if shutil.which("pdflatex") is not None:
        compile_it(tex)


def test_what_the_tests_call_best_is_bold_and_nothing_else(tex):
    first, *_ = tex.read_text().split(r"\end{table}")
    rows = [line for line in first.splitlines() if line.startswith("full")]
    assert len(rows) == 1 and rows[0].count(r"\textbf") == 1, "on the first task one of its two seeds failed"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a_b & 5 %", r"a\_b \& 5 \%"), ("é Å ç", r"\'{e} \r{A} \c{c}"), ("--", "{-}{-}"),
        ("中", r"\tunelabletter{4E2D}"),
        ("\\input{x}", r"\textbackslash{}input\{x\}"), ("a\nb\x1b", "a b "), ("* [x]", r"{*} {[}x{]}"),
    ],
)  # fmt: skip
def test_text(text, shown):
    assert escaped_latex(text) == shown
