"""What `tunelab status` prints: a table that fits a terminal, and a line a run elsewhere."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunelab.launch.control.status import StudyStatus
from tunelab.report.tables import visible

COLOURS = {
    "finished": "green", "diverged": "yellow", "running": "cyan", "silent": "red", "waiting": "dim",
    "stopped": "yellow", "failed": "red", "unknown": "magenta",
}  # fmt: skip


def print_status(status: StudyStatus, console: Console) -> None:
    """The summary, who executes the study, and every run."""
    console.print(Text(visible(status.summary), style="bold"), soft_wrap=True)
    for line in status.lines:
        console.print(Text(visible(line)), soft_wrap=not console.is_terminal)
    if not console.is_terminal:
        for each in status.runs:
            said = f": {each.text}" if each.text else ""
            console.print(Text(visible(f"{each.name}: {each.state}{said}")), soft_wrap=True)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    table.add_column(max_width=30)
    table.add_column(no_wrap=True)
    table.add_column()
    for each in status.runs:
        state = Text(each.state, style=COLOURS[each.state])
        table.add_row(Text(visible(each.name)), state, Text(visible(each.text)))
    console.print(table)
