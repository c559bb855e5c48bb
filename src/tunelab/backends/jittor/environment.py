"""The environment of Jittor's runs: where it lies, whether it is whole, and how it is made.

Jittor needs numpy below 2 and compiles itself with g++, so it cannot share an environment with the rest. It gets one of
its own in the cache, without torch, with the versions of everything else that are installed here; tunelab itself is
not installed there but read from where it is (start.py), so that both are always the same.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from tunelab.data.cache import cache_root
from tunelab.errors import RunError
from tunelab.files import write_atomically

JITTOR = "jittor==1.3.11.0"
NUMPY = ("numpy>=1.26,<2", "pyarrow>=21,<25")
"""From 25 on pyarrow needs numpy 2, and does not tell pip so."""
ONEDNN = ("onednn-cpu-gomp==2022.2.1", "onednn-devel-cpu-gomp==2022.2.1")
"""Matrix products; Jittor asks for this generation and would download it from one university's server."""
NOT_THERE = {"torch", "peft", "bitsandbytes", "numpy", "matplotlib", "typer", "rich"}
"""Of what tunelab needs: frameworks, and what only the terminal and the report use."""
EXTRAS = ("pycocoevalcap", "protobuf", "sentencepiece", "tiktoken")
"""Optional ones that its runs use where they are installed here."""
HOME, START = "home", Path(__file__).with_name("start.py")
READY = "ready-{}.json"
"""Of a kind of machine: Jittor compiles for its compiler and its processor."""
PLACE = "TUNELAB_JITTOR"
EXPECTED = "TUNELAB_JITTOR 6.0"
PROOF = "tunelab.backends.jittor.proof"
MKL = Path(".cache") / "jittor" / "mkl" / "dnnl_lnx_2.2.0_cpu_gomp"
PREPARE = "tunelab doctor --prepare jittor"
PYTHONS = ((3, 10), (3, 13))
"""From, to; 3.13 has no wheel of a numpy below 2."""


class Environment(NamedTuple):
    folder: Path
    requirements: tuple[str, ...]

    @property
    def python(self) -> Path:
        return self.folder / "env" / "bin" / "python"

    @property
    def ready_file(self) -> Path:
        return self.folder / READY.format(hashlib.sha256(machine().encode()).hexdigest()[:8])

    @property
    def ready(self) -> bool:
        return self.ready_file.exists() and self.python.exists()


def environment() -> Environment:
    """Of this Python and these versions; a change of either is another environment."""
    needed = tuple(requirements())
    key = hashlib.sha256("\n".join([*needed, sys.version, sys.base_prefix]).encode()).hexdigest()[:10]
    return Environment(environments() / key, needed)


def environments() -> Path:
    """$TUNELAB_JITTOR, else `jittor` in tunelab's cache: some 700 MB, and Jittor's kernels hold absolute paths."""
    own = os.environ.get(PLACE)
    return Path(own).expanduser().absolute() if own else cache_root() / "jittor"


def machine() -> str:
    """The compiler and the processor."""
    said = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=False).stdout
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{said.splitlines()[0] if said else ''}, {model}"


def requirements() -> Iterator[str]:
    yield from (JITTOR, *NUMPY, *ONEDNN)
    names = {
        re.split(r"[^\w.-]", line)[0].lower() for line in metadata.requires("tunelab") or () if "extra" not in line
    }
    for name in sorted((names | {"tokenizers"}) - NOT_THERE) + list(EXTRAS):
        try:
            yield f"{name}=={metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue


def command(module: str, *arguments: str) -> list[str]:
    """`python -m module arguments` under that environment's Python, which knows no tunelab of its own."""
    return [str(environment().python), "-I", str(START), module, *arguments]


def missing() -> str:
    """What keeps runs from executing here, with the way out; empty: nothing."""
    if problem := _unfit():
        return problem
    if environment().ready:
        return ""
    what = "is not prepared on this machine"
    if any(environments().glob(f"*/{READY.format('*')}")):
        what = "was prepared for other versions of Python or packages, another compiler or another processor"
    return f"jittor {what}; {PREPARE} (some minutes)"


def _unfit() -> str:
    """What no preparation can mend."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return f"jittor runs on Linux on x86_64 here, and this is {platform.system()} on {platform.machine()}"
    if not PYTHONS[0] <= sys.version_info[:2] < PYTHONS[1]:
        here = ".".join(map(str, sys.version_info[:2]))
        return f"jittor needs a Python from 3.10 to 3.12, and this is {here}: install tunelab under one of those"
    if shutil.which("g++") is None:
        return "jittor compiles its kernels, and there is no g++: apt-get install g++"
    if python_config() is None:
        version = ".".join(map(str, sys.version_info[:2]))
        return f"jittor compiles against Python's headers, and there is no python{version}-config: install python3-dev"
    return ""


def python_config() -> Path | None:
    """Beside the Python that this environment is made of; a venv has none of its own."""
    name = "python{}.{}-config".format(*sys.version_info[:2])
    beside = Path(sys.base_prefix) / "bin" / name
    if beside.exists():
        return beside
    found = shutil.which(name)
    return None if found is None else Path(found)


def prepare(told: Callable[[str], None]) -> None:
    """Make the environment, compile Jittor and the kernels of both kinds of model, and see that it computes.

    Raises:
        RunError: what failed, with the end of its log.
    """
    if problem := _unfit():
        raise RunError(problem)
    made = environment()
    made.folder.mkdir(parents=True, exist_ok=True)
    with (made.folder / "lock").open("w") as lock:  # of several that prepare the first does it for all
        fcntl.flock(lock, fcntl.LOCK_EX)
        if made.ready and (said := _proof(made)):
            told(f"it is prepared: {said}")
            return
        _make(made, told)


def _proof(made: Environment) -> str:
    """What it says of itself; empty: it does not compute."""
    done = subprocess.run(command(PROOF), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return next((line for line in done.stdout.splitlines() if line.startswith(EXPECTED)), "")


def _make(made: Environment, told: Callable[[str], None]) -> None:
    log, python = made.folder / "prepare.log", str(made.python)
    made.ready_file.unlink(missing_ok=True)
    told(f"1 of 4: packages, into {made.folder / 'env'}")
    _call([sys.executable, "-m", "venv", "--clear", str(made.folder / "env")], log, "the environment")
    _call([python, "-m", "pip", "install", "--disable-pip-version-check", *made.requirements], log, "its packages")
    _stage_onednn(made.folder)
    told("2 of 4: Jittor compiles itself (2 to 5 minutes, once)")
    for _ in range(3):  # its first import may end by asking for another, with exit status 0
        said = _call(command(PROOF), log, "Jittor", accept=lambda text: True)
        if EXPECTED in said:
            break
    told("3 of 4: kernels of GPT-2 and of LLaMA-like models")
    _call(command(PROOF, "kernels"), log, "the kernels", accept=lambda text: EXPECTED in text)
    told("4 of 4: once more in a new process, by a value")
    if not (said := _proof(made)):
        raise RunError(f"Jittor was made and does not compute; all of it in {log}")
    facts = {"requirements": made.requirements, "said": said, "python": sys.version, "machine": machine()}
    write_atomically(made.ready_file, json.dumps(facts, indent=2) + "\n")
    told(f"ready: {said}")


def _stage_onednn(folder: Path) -> None:
    """Where Jittor looks for what it would download otherwise."""
    place, env = folder / HOME / MKL, folder / "env"
    (place / "lib").mkdir(parents=True, exist_ok=True)
    for link, target in (
        (place / "include", env / "include"),
        (place / "lib" / "libmkldnn.so", env / "lib" / "libdnnl.so.2"),
    ):
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def _call(command: list[str], log: Path, what: str, *, accept: Callable[[str], bool] | None = None) -> str:
    """Its output. An exit status is no proof: Jittor ends with 0 where it has done nothing."""
    with log.open("a") as file:
        file.write(f"$ {' '.join(command)}\n")
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        file.write(done.stdout + done.stderr)
    fine = done.returncode == 0 if accept is None else accept(done.stdout)
    if not fine:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise RunError(f"{what} could not be prepared: {' '.join(lines[-1:])[:300]}; all of it in {log}")
    return done.stdout
