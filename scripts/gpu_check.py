"""Every method for real on one GPU, then its speed against the peers, in at most seven minutes.

    make gpu-check                                    # on the machine with the GPU, in a checkout
    python scripts/gpu_check.py [--out FOLDER] [--wheels FOLDER] [--seconds 420] [--tiny] [PART ...]
    python scripts/gpu_check.py --carry FOLDER [--python 3.12] [--cuda 130]

A machine without a network is given wheels: --carry downloads what such a machine lacks, without CUDA versions other
than its own, and --wheels reads them there; pip is not needed. Each part is a process with a time limit of its own; one
that fails or is ended is a line of the table, and the others go on. FOLDER/gpu-check.json and a log for each part are
left. --tiny tries all of it on the CPU with tiny shapes, in one process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MISSING = ("pydantic", "datasets", "rouge-score", "nltk", "liger-kernel", "bitsandbytes")
"""What a machine with torch, transformers, peft, pandas, matplotlib and sacrebleu lacks; their own needs are below."""
NEEDED_BY_THEM = ("annotated-types", "typing-inspection", "dill", "multiprocess")
OTHER_CUDA = "libbitsandbytes_cuda"
BESIDE = 110.0
"""Seconds that the parts which run beside each other may take."""


def parts() -> dict[str, tuple[Callable[[Any], dict[str, Any]], float, bool]]:
    """Name -> what it does, its most seconds, whether it runs beside others (else alone: it is timed)."""
    import gpu_memory
    import gpu_parts
    import gpu_speed

    beside = {name: (do, BESIDE, True) for name, do in gpu_parts.PARTS.items()}
    return {"machine": (gpu_parts.machine, 40.0, False), **beside, **gpu_memory.PARTS, **gpu_speed.PARTS}


def use(wheels: Path | None) -> None:
    """The checkout, its tests' tools and the carried packages can be imported from here on."""
    for folder in (ROOT / "scripts", ROOT / "tests", ROOT / "src"):
        sys.path.insert(0, str(folder))
    if wheels is not None:
        site = Path(tempfile.gettempdir()) / f"gpu-check-{wheels.resolve().name}"
        if not (site / "complete").exists():
            for wheel in sorted(wheels.glob("*.whl")):
                zipfile.ZipFile(wheel).extractall(site)
            (site / "complete").touch()
        sys.path.append(str(site))


def outcome(do: Callable[[Any], dict[str, Any]], given: Any) -> dict[str, Any]:
    """A part's facts, or why there are none."""
    from gpu_parts import NotCovered

    began = time.perf_counter()
    try:
        facts = {"state": "ok", **do(given)}
    except NotCovered as reason:
        facts = {"state": "not covered", "said": str(reason)}
    except Exception as error:
        traceback.print_exc()
        facts = {"state": "failed", "said": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    return {**facts, "seconds": round(time.perf_counter() - began, 1)}


def in_process_of_its_own(name: str, given: Any) -> subprocess.Popen:
    options = ["--out", str(given.out), "--part", name, *(["--tiny"] if given.tiny else [])]
    options += ["--wheels", str(given.wheels)] if given.wheels else []
    with (given.out / f"{name}.log").open("w") as log:
        command = [sys.executable, "-u", __file__, *options]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)


def ended(process: subprocess.Popen, name: str, given: Any, *, limit: float, began: float) -> dict[str, Any]:
    """Wait for it, at most until its limit; what it has found."""
    file = given.out / f"{name}.json"
    try:
        status = process.wait(timeout=max(1.0, limit - (time.perf_counter() - began)))
        said = f"ended with status {status}, see {name}.log"
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        said = f"ended after its {limit:.0f} s, see {name}.log"
    if file.exists():
        return json.loads(file.read_text())
    return {"state": "failed", "said": said, "seconds": round(time.perf_counter() - began, 1)}


def check(given: Any, chosen: dict[str, tuple[Callable[[Any], dict[str, Any]], float, bool]]) -> dict[str, Any]:
    """Facts by part. Those that run beside each other begin together, after the first one; the timed ones are alone."""
    began, found = time.perf_counter(), {}

    def left() -> float:
        return given.seconds - (time.perf_counter() - began)

    beside = [name for name, (_, _, together) in chosen.items() if together]
    alone = [[name] for name in chosen if name not in beside]
    first = 1 if "machine" in chosen else 0
    groups = [*alone[:first], *([beside] if beside else []), *alone[first:]]
    for group in groups:
        if left() < 15 and not given.tiny:
            found |= {name: {"state": "not covered", "said": "no time was left"} for name in group}
            continue
        start = time.perf_counter()
        if given.tiny:
            found |= {name: outcome(chosen[name][0], given) for name in group}
        else:
            running = {name: in_process_of_its_own(name, given) for name in group}
            for name, process in running.items():
                limit = min(chosen[name][1], left())
                found[name] = ended(process, name, given, limit=limit, began=start)
        for name in group:
            print(line(name, found[name]), flush=True)
            (given.out / "gpu-check.json").write_text(json.dumps(found, indent=2) + "\n")
    return found


def line(name: str, facts: dict[str, Any]) -> str:
    told = {key: value for key, value in facts.items() if key not in ("state", "said", "seconds", "details")}
    words = [facts["said"]] if facts.get("said") else []
    words += [f"{key} {value:,.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in told.items()]
    return f"{name:<22} {facts['state']:<12} {facts.get('seconds', 0):>6.1f} s  {'; '.join(words)}"


def carry(folder: Path, *, python: str, cuda: str) -> None:
    """Download wheels for such a machine; bitsandbytes keeps its library for one CUDA."""
    folder.mkdir(parents=True, exist_ok=True)
    platforms = ["manylinux2014_x86_64", "manylinux_2_24_x86_64", "manylinux_2_28_x86_64", "any"]
    options = [f"--platform={platform}" for platform in platforms]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", *options]
    pydantic = _wanted_core()
    subprocess.run(
        [*command, f"--python-version={python}", "-d", str(folder), *MISSING, *NEEDED_BY_THEM, *pydantic], check=True
    )
    for wheel in folder.glob("bitsandbytes-*.whl"):
        held = wheel.with_suffix(".all")
        wheel.rename(held)
        with zipfile.ZipFile(held) as whole, zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as kept:
            for entry in whole.infolist():
                name = Path(entry.filename).name
                if not name.startswith(OTHER_CUDA) or name.startswith(f"{OTHER_CUDA}{cuda}"):
                    kept.writestr(entry, whole.read(entry))
        held.unlink()
    size = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
    print(f"{len(list(folder.glob('*.whl')))} wheels, {size:.1f} MiB, in {folder}")


def _wanted_core() -> list[str]:
    """pydantic wants one release of its core: that of the one installed here, where it is."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return [f"pydantic=={version('pydantic')}", f"pydantic-core=={version('pydantic-core')}"]
    except PackageNotFoundError:
        return ["pydantic-core"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help="only these")
    parser.add_argument("--out", type=Path, default=Path("results/gpu-check"))
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--seconds", type=float, default=420.0)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--carry", type=Path)
    parser.add_argument("--python", default="3.12")
    parser.add_argument("--cuda", default="130")
    given = parser.parse_args()
    if given.carry:
        carry(given.carry, python=given.python, cuda=given.cuda)
        return 0
    use(given.wheels)
    given.out = given.out.absolute()
    given.out.mkdir(parents=True, exist_ok=True)
    known = parts()
    if given.part:
        (given.out / f"{given.part}.json").write_text(json.dumps(outcome(known[given.part][0], given)))
        return 0
    unknown = sorted(set(given.parts) - set(known))
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(known)}")
    for old in given.out.glob("*.json"):
        old.unlink()
    found = check(given, {name: part for name, part in known.items() if not given.parts or name in given.parts})
    import gpu_speed

    compared = gpu_speed.against(found)
    if compared and given.tiny:
        print("tiny shapes on a CPU: no speed here says anything")
    for name, words in compared.items():
        print(f"{name:<22} {words}")
    (given.out / "gpu-check.json").write_text(json.dumps({**found, "compared": compared}, indent=2) + "\n")
    print(f"written to {given.out / 'gpu-check.json'}")
    return 1 if any(facts["state"] == "failed" for facts in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
