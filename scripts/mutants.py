"""Plants the faults of mutants.yaml in a copy of the tree, one at a time, and tells which of them its tests notice.

    python scripts/mutants.py            # all of them: about ten minutes on one core
    python scripts/mutants.py loop seed  # those with one of these words in their file, text or tests

A fault is a text of a file below src/tunelab, what stands in its place, and the tests that must fail then. One that
survives is a test to be written; `survives` says of one why none can be. The list is kept true: a fault whose text does
not stand in the file exactly once, or whose tests cannot be collected, is an error. The tree itself is only read.

Tests of a fault run in a fork of this process, which has imported what takes long and nothing of tunelab.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "scripts" / "mutants.yaml"
COPIED = ("src", "tests", "scripts", "docs", "README.md", "pyproject.toml")
SECONDS = 120
"""That the tests of one fault may take; a fault that makes them hang is noticed too."""
OPTIONS = ("-q", "-x", "-o", "addopts=", "--import-mode=importlib", "-p", "no:cacheprovider")
PASSED, FAILED, HANGS = 0, 1, None
"""How pytest ends; whatever else it gives says that no test was executed."""
HEAVY = ("pytest", "hypothesis", "torch", "peft", "transformers.models.gpt2.modeling_gpt2",
         "transformers.models.llama.modeling_llama", "transformers.models.t5.modeling_t5")  # fmt: skip
"""What most tests import."""
LOOKS_PER_SECOND = 20

Word = Literal["caught", "survived", "does not apply", "does not run"]


class Fault(NamedTuple):
    file: str
    """Below src/tunelab."""
    before: str
    after: str
    tests: tuple[str, ...]
    """As pytest takes them; at least one of them must fail."""
    survives: str = ""
    """Why no test can notice it; empty: one must."""


class Outcome(NamedTuple):
    word: Word
    said: str
    """The test that failed, or what is wrong with the entry."""
    seconds: float

    def is_as_listed(self, fault: Fault) -> bool:
        return self.word == ("survived" if fault.survives else "caught")


def read_faults(file: Path) -> list[Fault]:
    entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    return [Fault(**{**entry, "tests": tuple(entry["tests"].split())}) for entry in entries]


def copied(root: Path, folder: Path) -> Path:
    """The parts of the tree that tests need."""
    for name in COPIED:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif source.exists():
            shutil.copy2(source, folder / name)
    return folder


def why_not(fault: Fault, root: Path) -> str:
    """Why it cannot be planted; empty: it can."""
    file = root / "src" / "tunelab" / fault.file
    if not file.is_file():
        return "the file is gone"
    if fault.before == fault.after:
        return "nothing is changed"
    count = file.read_text(encoding="utf-8").count(fault.before)
    return "" if count == 1 else f"the text stands there {count} times"


class Tested(NamedTuple):
    status: int | None
    output: str


def tested(root: Path, tests: Sequence[str], *, seconds: float, keeps_bytecode: bool = False) -> Tested:
    """In a fork, whose processes end with it."""
    log = root / "log.txt"
    process = os.fork()
    if process == 0:
        os.setsid()
        status = -1
        try:
            status = _test(root, tests, log, keeps_bytecode=keeps_bytecode)
        finally:
            os._exit(status if status >= 0 else 99)
    try:
        status = _waited(process, seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
    return Tested(status, log.read_text(encoding="utf-8", errors="replace"))


def _test(root: Path, tests: Sequence[str], log: Path, *, keeps_bytecode: bool) -> int:
    """In the fork: what pytest gives."""
    import pytest

    written = log.open("w", encoding="utf-8", buffering=1)
    for descriptor in (1, 2):
        os.dup2(written.fileno(), descriptor)
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = written
    os.chdir(root)
    os.environ |= {"PYTHONPATH": str(root / "src"), "TUNELAB_SHARED": str(shared())}
    sys.path.insert(0, str(root / "src"))
    sys.dont_write_bytecode = not keeps_bytecode
    return int(pytest.main([*OPTIONS, *tests]))


def _waited(process: int, seconds: float) -> int | None:
    """How it ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(1 / LOOKS_PER_SECOND)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return HANGS


def shared() -> Path:
    """Where conftest.py would look for data from the tree itself."""
    beside = ROOT.parent / "shared"
    return Path(os.environ.get("TUNELAB_SHARED", beside if beside.is_dir() else ROOT / "shared"))


def planted(fault: Fault, root: Path, *, seconds: float) -> Outcome:
    """In the copy, which is as before afterwards."""
    if reason := why_not(fault, root):
        return Outcome("does not apply", reason, 0.0)
    file, began = root / "src" / "tunelab" / fault.file, time.monotonic()
    text, times = file.read_text(encoding="utf-8"), file.stat()
    file.write_text(text.replace(fault.before, fault.after), encoding="utf-8")
    os.utime(file, (times.st_atime, times.st_mtime + 1000))  # bytecode is told from its source by whole seconds
    try:
        status, output = tested(root, fault.tests, seconds=seconds)
    finally:
        file.write_text(text, encoding="utf-8")
        os.utime(file, (times.st_atime, times.st_mtime))
    took = time.monotonic() - began
    if status == PASSED:
        return Outcome("survived", fault.survives, took)
    if status == HANGS:
        return Outcome("caught", f"nothing within {seconds:g} s", took)
    found = re.search(r"^(?:FAILED|ERROR) \S*?::(\S+)", output, re.MULTILINE)
    if status != FAILED or not found:
        return Outcome("does not run", (output.strip() or "no output").splitlines()[-1], took)
    return Outcome("caught", found.group(1), took)


def row(fault: Fault, outcome: Outcome) -> str:
    """Of the table, which is Markdown."""
    change = f"`{_line(fault.before)}` → `{_line(fault.after)}`" if fault.after else f"without `{_line(fault.before)}`"
    cells = (f"`{fault.file}`", change, outcome.word, outcome.said, f"{outcome.seconds:.0f}")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _line(text: str) -> str:
    return " ".join(text.split())


def summary(outcomes: Sequence[Outcome]) -> str:
    words = [outcome.word for outcome in outcomes]
    rare = [f"{words.count(word)} {word}" for word in ("does not apply", "does not run") if word in words]
    return ", ".join([f"{words.count('caught')} of {len(words)} caught", f"{words.count('survived')} survived", *rare])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="those with one of these in their file, text or tests; none: all")
    parser.add_argument("--list", type=Path, default=LIST, help="another list")
    parser.add_argument("--root", type=Path, default=ROOT, help="another tree")
    parser.add_argument("--heavy", nargs="*", default=HEAVY, help="other modules to import before")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that the tests of one fault may take")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the copy is removed
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    for name in given.heavy:
        importlib.import_module(name)
    faults = [fault for fault in read_faults(given.list) if not given.words or _has(fault, given.words)]
    sys.exit(0 if as_listed(faults, given.root, seconds=given.seconds) else 1)


def _has(fault: Fault, words: Sequence[str]) -> bool:
    text = " ".join((fault.file, fault.before, fault.after, *fault.tests))
    return any(word in text for word in words)


def as_listed(faults: Sequence[Fault], root: Path, *, seconds: float) -> bool:
    """Plants each and prints what came of it."""
    with tempfile.TemporaryDirectory(prefix="tunelab-mutants-") as temporary:
        copy = copied(root, Path(temporary))
        tests = sorted({test for fault in faults for test in fault.tests})
        sound = tested(copy, tests, seconds=seconds * max(1, len(tests)), keeps_bytecode=True)
        if sound.status != PASSED:
            print(f"without a fault the tests do not pass:\n{sound.output}", flush=True)
            return False
        print("| file | fault | | by | s |\n|---|---|---|---|---:|", flush=True)
        outcomes = []
        for fault in faults:
            outcomes.append(planted(fault, copy, seconds=seconds))
            print(row(fault, outcomes[-1]), flush=True)
    print(f"\n{summary(outcomes)}", flush=True)
    return all(outcome.is_as_listed(fault) for fault, outcome in zip(faults, outcomes, strict=True))


if __name__ == "__main__":
    main()
