"""Tries the wheel on every promised Python that is found: installs it afresh and uses it from an empty folder.

    python scripts/try_versions.py [3.10 3.12 ...]      (or: make test-versions)

The promise is the list of classifiers in pyproject.toml. Interpreters are looked for as python3.N on PATH and below
$PYENV_ROOT or ~/.pyenv. Each gets a new environment in a temporary folder (2 to 7 GB: torch from the package index
brings CUDA on Linux; PIP_FIND_LINKS and PIP_EXTRA_INDEX_URL are pip's own way to the CPU wheels), one after the other,
and it is removed again. Exit status 1 if one fails or none is found; one that is not found is said.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 3600
"""Limit of one step: the longest is the download of torch."""
FEW = ["--set", "seeds=[0]", "--set", "budget={steps: 4}", "--set", "generation.max_new_tokens=8"]
REHEARSED = "gemma-qlora-galore"
"""A bundled study of a model on the hub: its rehearsal needs no network, and passes through 4-bit layers and GaLore."""
IMPORT_ALL = """
import importlib, pkgutil, sys, warnings
warnings.simplefilter("error", SyntaxWarning)
import tunelab
from tunelab.errors import RunError
found, apart, failed = 0, 0, []
for module in pkgutil.walk_packages(tunelab.__path__, "tunelab."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
        found += 1
    except RunError:
        apart += 1
    except ModuleNotFoundError as problem:
        if problem.name is None or problem.name.startswith("tunelab"):
            failed.append(f"{module.name}: {problem}")
        apart += 1
    except Exception as problem:
        failed.append(f"{module.name}: {type(problem).__name__}: {problem}")
print(f"{found} modules imported; {apart} need packages or an environment that are not here")
if failed:
    sys.exit("\\n".join(failed))
"""
"""Finds a name that is newer than the version in a module that no other step uses. Jittor's refuse by a RunError."""


class Tried(NamedTuple):
    ok: bool
    said: str
    """What passed with its seconds, or the step that failed."""


def promised() -> list[str]:
    """3.10, 3.11, ... as pyproject.toml's classifiers say. By a pattern: tomllib is newer than 3.10."""
    return re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())


def version_of(python: Path) -> str | None:
    """'3.10.13'; None where that is no interpreter (pyenv's shims are there for versions that are not)."""
    command = [str(python), "-c", "import ensurepip, venv, sys; print('.'.join(map(str, sys.version_info[:3])))"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def interpreter(minor: str) -> tuple[Path, str] | None:
    """The interpreter of a minor version that can make environments, and its whole version."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    on_path = shutil.which(f"python{minor}")
    installed = sorted(pyenv.glob(f"{minor}.*"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
    candidates = [*(folder / "bin" / "python" for folder in reversed(installed)), *([Path(on_path)] if on_path else [])]
    for python in candidates:
        version = version_of(python)
        if version and version.startswith(f"{minor}."):
            return python, version
    return None


def build(folder: Path, *options: str) -> Path:
    """The wheel, from a copy without what earlier builds left: setuptools takes in whatever lies in build/.

    Args:
        options: more of `pip wheel`'s; with --no-build-isolation it needs no network.
    """
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *options, "--wheel-dir", str(folder)]
    subprocess.run([*command, str(source)], check=True)
    return next(folder.glob("tunelab-*.whl"))


def size_gb(folder: Path) -> float:
    return sum(file.lstat().st_size for file in folder.rglob("*")) / 1e9


def tried(python: Path, version: str, wheel: Path, folder: Path) -> Tried:
    """Installs and uses the wheel; what was printed stands in folder/log.txt."""
    own = folder / "environment"
    binary, empty = own / "bin", folder / "empty"
    empty.mkdir(parents=True)
    outside = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    outside |= {"TUNELAB_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub")}
    tunelab, inside = str(binary / "tunelab"), str(binary / "python")
    steps = {
        "environment": [str(python), "-m", "venv", str(own)],
        "install": [inside, "-m", "pip", "install", "--quiet", "--no-compile", str(wheel)],
        "compile": [inside, "-W", "error", "-m", "compileall", "-q", "-f", next_to(own, version)],
        "import": [inside, "-c", IMPORT_ALL],
        "--version": [tunelab, "--version"],
        "list": [tunelab, "list", "methods"],
        "plan": [tunelab, "plan", "quickstart"],
        "rehearsal": [tunelab, "run", REHEARSED, "--rehearse"],
        "quickstart": [tunelab, "run", *FEW],
    }
    said = []
    with open(folder / "log.txt", "w") as log:
        for name, command in steps.items():
            log.write(f"\n$ {name}: {' '.join(command).partition(IMPORT_ALL)[0]}\n")
            log.flush()
            started = time.monotonic()
            try:
                status = subprocess.run(
                    command, cwd=empty, env=outside, stdout=log, stderr=log, stdin=subprocess.DEVNULL, timeout=SECONDS
                ).returncode
            except subprocess.TimeoutExpired:
                status = f"nothing within {SECONDS} s"
            if status != 0:
                return Tried(False, f"{name} failed: {status}")
            size = f", {size_gb(own):.1f} GB" if name == "install" else ""
            said.append(f"{name} {time.monotonic() - started:.0f} s{size}")
    reports = [path.parent.name for path in empty.glob("results/*/report.html")]
    if "quickstart" not in reports:
        return Tried(False, f"quickstart left no report: {reports}")
    return Tried(True, ", ".join(said))


def next_to(environment: Path, version: str) -> str:
    return str(environment / "lib" / f"python{version.rpartition('.')[0]}" / "site-packages" / "tunelab")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minors", nargs="*", default=promised(), help="as 3.10; all that are promised if none is given")
    parser.add_argument("--keep", type=Path, help="leave environments and logs in this folder, which must be new")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was installed is removed
    pythons = {minor: interpreter(minor) for minor in given.minors}
    for minor, found in pythons.items():
        if found is None:
            print(f"{minor}: no interpreter with venv on PATH or below ~/.pyenv: not tried", flush=True)
    here = {minor: found for minor, found in pythons.items() if found is not None}
    sys.exit(0 if here and passed(here, given.keep) else 1)


def passed(pythons: dict[str, tuple[Path, str]], kept: Path | None) -> bool:
    """Tries each and prints what came of it; False if one failed."""
    with tempfile.TemporaryDirectory(prefix="tunelab-versions-") as temporary:
        folder = kept or Path(temporary)
        folder.mkdir(parents=True, exist_ok=kept is None)
        wheel = build(folder)
        print(f"{wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
        num_failed = 0
        for minor, (python, version) in pythons.items():
            own = folder / minor
            result = tried(python, version, wheel, own)
            print(f"{version}: {'passed' if result.ok else 'FAILED'}: {result.said}", flush=True)
            if not result.ok:
                num_failed += 1
                print("    " + "\n    ".join((own / "log.txt").read_text().splitlines()[-30:]), flush=True)
            if kept is None:
                shutil.rmtree(own)
    return num_failed == 0


if __name__ == "__main__":
    main()
