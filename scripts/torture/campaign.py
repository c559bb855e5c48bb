"""Tortures `tunelab run` as a machine and a user would, and tells what it does not stand.

    python scripts/torture                                   # everything: hours on two cores
    python scripts/torture --points 20 --seed 3 --only signals
    python scripts/torture --only disk memory listed --page benchmarks/torture_HARDWARE_DATE.md

Parts are `signals` (a study of every method, disturbed at random points: disturbed.py), the cases of surroundings.py by
the words of their names, `slope` and `secrets` (slopes.py), and `listed`: the tests of listed.yaml by their kinds. It
exits 1 when something did not hold. Full disks and limits of memory need root on Linux. What fails is left in --work.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import disturbed
import slopes
import surroundings
import yaml

ROOT = Path(__file__).resolve().parents[2]
LISTED = ROOT / "scripts" / "torture" / "listed.yaml"


class Row(NamedTuple):
    """Of the table."""

    kind: str
    tried: int
    held: int
    note: str = ""

    @property
    def holds(self) -> bool:
        return self.tried == self.held > 0

    @property
    def text(self) -> str:
        cells = (self.kind, str(self.tried), str(self.held), " ".join(self.note.split()))
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


HEAD = "| kind | tried | held | |\n|---|---:|---:|---|"


def of_signals(work: Path, given: argparse.Namespace) -> Iterator[Row]:
    found = []
    for one in disturbed.laps(work / "signals", points=given.points, seed=given.seed):
        found.append(one)
        faults = [*one.faults, *(f"{each}: {fault}" for each in one.points for fault in each.faults)]
        print("\n".join([f"lap {len(found)}: {len(one.points)} points", *faults]), flush=True)
    where = sorted({(each.phase, each.method) for one in found for each in one.points})
    for name, (tried, held) in disturbed.by_kind(found).items():
        yield Row(name, tried, held)
    phases, runs = ({pair[place] for pair in where} for place in (0, 1))
    equal = sum(1 for one in found if not one.faults)
    note = f"{len(phases)} phases ({', '.join(sorted(phases))}), {len(runs - {'no run'})} kinds of runs"
    yield Row("studies equal to the undisturbed", len(found), equal, note)


def of_surroundings(work: Path, given: argparse.Namespace) -> Iterator[Row]:
    words = [word for word in given.only if word not in PARTS]
    if given.only and not words and "surroundings" not in given.only:
        return
    for name, faults in surroundings.tried(work / "surroundings", words):
        yield Row(name, 1, 0 if faults else 1, "; ".join(faults))


def of_slope(work: Path, given: argparse.Namespace) -> Iterator[Row]:
    measured = slopes.of_a_long_run(work / "slope", steps=given.steps)
    yield Row("memory and open files", 1, 0 if measured.faults else 1, measured.text)


def of_secrets(work: Path, given: argparse.Namespace) -> Iterator[Row]:
    faults = slopes.written_secrets(work / "secrets")
    yield Row("no secret in any file", len(slopes.SECRETS), 0 if faults else len(slopes.SECRETS), "; ".join(faults))


def of_listed(work: Path, given: argparse.Namespace) -> Iterator[Row]:
    for entry in yaml.safe_load(LISTED.read_text(encoding="utf-8")):
        quiet = ["-q", "-o", "addopts=", "--import-mode=importlib", "-p", "no:cacheprovider"]  # with counts at the end
        command = [sys.executable, "-m", "pytest", *quiet, *entry["tests"].split()]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        yield tests_row(entry["kind"], done.returncode, done.stdout)


def tests_row(kind: str, status: int, output: str) -> Row:
    """Of one call of pytest."""
    last = (output.strip().splitlines() or [""])[-1]
    counts = {word.rstrip("s,"): int(number) for number, word in zip(last.split(), last.split()[1:], strict=False)
              if number.isdigit()}  # fmt: skip
    passed, skipped = counts.get("passed", 0), counts.get("skipped", 0)
    wrong = counts.get("failed", 0) + counts.get("error", 0)
    failed = [line.removeprefix("FAILED ") for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    note = "; ".join([*failed, *([f"{skipped} skipped"] if skipped else [])])
    if (status != 0 and not wrong) or not passed + wrong:
        return Row(kind, 1, 0, f"pytest ended with status {status}: {last}")
    return Row(kind, passed + wrong, passed, f"tests{'; ' if note else ''}{note}")


PARTS: dict[str, Callable[[Path, argparse.Namespace], Iterator[Row]]] = {
    "signals": of_signals,
    "surroundings": of_surroundings,
    "slope": of_slope,
    "secrets": of_secrets,
    "listed": of_listed,
}


def page(rows: Sequence[Row], *, seconds: float, given: argparse.Namespace) -> str:
    told = f"`python scripts/torture --points {given.points} --seed {given.seed}`, {seconds / 60:.0f} minutes"
    return "\n".join(["# Torture", "", told, "", HEAD, *(row.text for row in rows), ""])


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100, help="signals that are sent")
    parser.add_argument("--seed", type=int, default=0, help="what all of them are drawn from")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="these parts, and cases with these words")
    parser.add_argument("--steps", type=int, default=slopes.STEPS, help="of the run whose memory is looked at")
    parser.add_argument("--page", type=Path, help="write the table there")
    parser.add_argument("--work", type=Path, help="where studies are executed; left out: a temporary folder")
    return parser.parse_args(arguments)


def main() -> None:
    given, began = parsed(), time.monotonic()
    chosen = [name for name in PARTS if not given.only or name in given.only or name == "surroundings"]
    work = Path(tempfile.mkdtemp(prefix="tunelab-torture-")) if given.work is None else given.work.resolve()
    rows = []
    for name in chosen:
        for row in PARTS[name](work, given):
            rows.append(row)
            print(row.text, flush=True)
    text = page(rows, seconds=time.monotonic() - began, given=given)
    print(f"\n{text}")
    if given.page is not None:
        given.page.write_text(text, encoding="utf-8")
    holds = bool(rows) and all(row.holds for row in rows)
    if holds and given.work is None:
        shutil.rmtree(work)
    elif not holds:
        print(f"what did not hold is left in {work}" if rows else f"nothing is named {' '.join(given.only)}")
    sys.exit(0 if holds else 1)
