"""What `list` and `doctor` print fits a terminal, and is a line an entry elsewhere."""

from tunelab.launch.terminal import texts
from tunelab.launch.terminal.texts import finding_text, names_text

NAMES = {"lora": "W stays frozen; " * 12, "full": "every weight is trained"}


def test_names_are_aligned_a_line_each():
    assert names_text(NAMES).splitlines() == [f"lora  {NAMES['lora']}", "full  every weight is trained"]


def test_on_a_terminal_a_long_line_goes_on_under_itself():
    lines = names_text(NAMES, width=60).splitlines()
    assert max(map(len, lines)) <= 60 and lines[1].startswith("      stays") and lines[-1].startswith("full  every")


def test_a_finding_has_its_advice_below_it():
    lines = finding_text("free_disk_gib", "3 GiB free", "less than 5 GiB free: checkpoints may not fit " * 2, width=60)
    first, *more = lines.splitlines()
    assert first == f"{'free disk gib':<22} 3 GiB free"
    assert more[0].startswith(" " * 23 + "-> less") and max(map(len, more)) <= 60


def test_lines_fit_a_terminal_and_are_whole_elsewhere(monkeypatch):
    text = "run: adapter, 0.6 MiB\n  read again, largest difference of logits: 0.0e+00 (limit 1e-04)\nwrote folder"
    assert texts.fitting(text) == text
    monkeypatch.setattr(texts, "terminal_columns", lambda: 40)
    assert texts.fitting(text).split("\n") == [
        "run: adapter, 0.6 MiB", "  read again, largest difference of", "    logits: 0.0e+00 (limit 1e-04)",
        "wrote folder",
    ]  # fmt: skip
