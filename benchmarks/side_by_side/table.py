"""The table of all comparisons as Markdown, and the same with every run as JSON."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from side_by_side.compare import Comparison, Run, peak, rate

HEAD = (
    "| | mode | tokens/s, ours | peer | speed | pairs from, to | bar | memory (MiB), ours | peer | ratio | bar "
    "| losses | share of the floor |"
)


def facts(given: argparse.Namespace) -> dict[str, Any]:
    """Where and how it was measured."""
    cpu = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.split(":", 1)[1].strip() for line in cpu.splitlines() if line.startswith("model name")]
    flags = set(cpu.split())
    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "instructions": [flag for flag in known if flag in flags],
        "memory_gib": round(pages / 1024**3, 1),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
        "threads": given.threads,
        "pairs": given.pairs,
        "steps": given.steps,
        "warm_up_steps": given.warm_up,
    }


def show(side: str, run: Run) -> str:
    """One run on a line."""
    floor = run.get("floor")
    share = f", {floor['seconds'] / run['processor_seconds']:.0%} of the floor" if floor else ""
    step = run["processor_seconds"] / run["steady_steps"]
    memory = f"{run['peak_above_weights_mib']:.0f} MiB above {run['weights_mib']:.0f} of weights"
    loss = f", loss {run['losses'][0]:.4f}" if run["losses"] else ""
    return f"{side} {rate(run):.0f} tokens/s, {step:.3f} s a step, {memory}{loss}{share}"


def write(out: Path, comparisons: Sequence[Comparison], where: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    content = {**where, "versions": _versions(comparisons), "comparisons": [each.record() for each in comparisons]}
    (out / "peers.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / "peers.md").write_text(table(comparisons, where))


def table(comparisons: Sequence[Comparison], where: dict[str, Any]) -> str:
    lines = [_row(each) for each in comparisons]
    notes = dict.fromkeys(
        f"- {each.workload.name}: {each.workload.about}; {each.workload.rows.examples} examples a step; "
        f"{each.about.get('rows')}"
        for each in comparisons
    )
    rule = "|".join(["", "---", "---", *["---:"] * 11, ""]).replace("---:|---:|", "---:|---:|")
    return "\n".join(
        ["# Tunelab beside its peers", "", _where(comparisons, where), "", HEAD, rule, *lines, "", *notes, ""]
    )


def _where(comparisons: Sequence[Comparison], where: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in _versions(comparisons).items())
    return (
        f"{where['processor']} ({', '.join(where['instructions'])}), {where['cores']} cores, "
        f"{where['memory_gib']} GiB, load average {where['load_average'][0]}, Python {where['python']}, "
        f"{versions}, {where['date']}. "
        f"{where['threads']} thread(s), {where['pairs']} pairs, {where['steps']} steps of which the first "
        f"{where['warm_up_steps']} are not counted. Processor seconds; real tokens without padding; peak of the train "
        "phase above the loaded weights."
    )


def _versions(comparisons: Sequence[Comparison]) -> dict[str, str]:
    runs = [run for each in comparisons for run in (*each.ours, *each.peer)]
    return runs[-1]["versions"] if runs else {}


def _row(each: Comparison) -> str:
    mine, other = (_median_rate(runs) for runs in (each.ours, each.peer))
    slower = each.workload.peer != "ours" and each.speed is not None and each.speed < 1
    spread = f"{min(each.speeds):.2f}, {max(each.speeds):.2f}" if each.speeds else ""
    cells = [
        each.workload.name, each.mode, mine, other, _times(each.speed) + (" **slower**" if slower else ""), spread,
        _bar(each.speed, each.workload.bars.of(each.mode), at_least=True),
        _mib(each.ours), _mib(each.peer), _times(each.memory),
        _bar(each.memory, each.workload.bars.memory, at_least=False), _losses(each),
        "" if each.floor_share is None else f"{each.floor_share:.0%}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _median_rate(runs: Sequence[Run]) -> str:
    import statistics

    return f"{statistics.median(rate(run) for run in runs):.0f}" if runs else ""


def _mib(runs: Sequence[Run]) -> str:
    found = peak(runs)
    return "" if found is None else f"{found:.0f}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} x"


def _bar(value: float | None, bar: float | None, *, at_least: bool) -> str:
    """The bar, and whether it is met."""
    if bar is None or value is None:
        return "" if bar is None else f"{bar:g}"
    met = value >= bar if at_least else value <= bar
    return f"{'>=' if at_least else '<='} {bar:g}: {'met' if met else 'not met'}"


def _losses(each: Comparison) -> str:
    if each.equal_texts is not None:
        return f"{each.equal_texts:.1%} of the texts equal"
    gap = each.loss_difference
    if gap is None:
        return ""
    if not each.workload.equal_losses:
        return "not compared"
    word = "**DIFFER by" if each.losses_differ else "equal to"
    return f"{word} {gap:.1e}{'**' if each.losses_differ else ''}"
