"""What this machine can do, and what to install or change for the rest."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import tunelab
from tunelab import catalogue, device
from tunelab.errors import ConfigError
from tunelab.evaluation.java import METEOR, TOKENISER
from tunelab.near import did_you_mean
from tunelab.stages import stage
from tunelab.study.planning.plan import load_backend, tracker_of

GIB = 1024**3
HUB_SECONDS = 3.0
BUSY = 1.2
"""Times as slow as alone: more is told."""
PACKAGES = ("torch", "transformers", "datasets", "safetensors", "peft")
ROOM_GIB = 5.0
"""Less free disk than this is told: a model of a billion weights with its checkpoints needs about as much."""


class Finding(NamedTuple):
    """One thing about this machine."""

    name: str
    value: Any
    """As JSON has it. None: could not be told."""
    text: str
    advice: str = ""
    """What to do where something is missing."""


def examine(*, calibrate: bool = False) -> Iterator[Finding]:
    """Everything, each as soon as it is known; no finding is an error.

    Args:
        calibrate: measure this machine's products anew; else what was measured before is shown.
    """
    yield from _software()
    yield _trackers()
    with stage("trying the device"):
        devices = _devices()
    yield from devices
    with stage("measuring products"):
        speed = _speed(anew=calibrate)
    yield speed
    yield _energy()
    with stage("looking for back ends with an environment of their own"):
        backends = _backends()
    yield from backends
    yield from _memory_findings()
    yield from _places()


def prepare(name: str, *, told: Callable[[str], None]) -> None:
    """Bring what a back end needs and this machine lacks.

    Raises:
        ConfigError: no such back end.
        RunError: it could not be brought.
    """
    known = catalogue.names("backends")
    if name not in known:
        raise ConfigError(f"no back end is called '{name}'.{did_you_mean(name, known)} There are: {', '.join(known)}")
    backend = load_backend(name)
    if not backend.opened_by:
        told(f"{name}: nothing to prepare, it is in tunelab's own environment")
        return
    backend.prepare(told)


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """What `tunelab doctor --json` prints."""
    advice = {finding.name: finding.advice for finding in findings if finding.advice}
    return {**{finding.name: finding.value for finding in findings}, "advice": advice}


def _software() -> Iterator[Finding]:
    versions = {"tunelab": tunelab.__version__, "python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in PACKAGES if find_spec(name)}
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    advice = "" if find_spec("peft") else "pip install 'tunelab[dev]' brings peft, which only the parity tests need"
    yield Finding("packages", versions, text, advice)
    without_java = TOKENISER.missing() or METEOR.missing()
    found = "here" if not without_java else "missing: these scores are then missing too"
    yield Finding(
        "meteor", not without_java, f"Java and the jars of meteor, cider, rouge_l:coco are {found}", without_java
    )


def _trackers() -> Finding:
    """None is needed: what is missing is no advice."""
    found = {name: tracker_of(name) for name in catalogue.names("trackers")}
    versions = {name: each.version() or None for name, each in found.items()}
    here = ", ".join(f"{name} ({version})" for name, version in versions.items() if version)
    absent = "; ".join(f"{name}: {found[name].install}" for name, version in versions.items() if not version)
    text = f"{here or 'none'}{f'; not installed: {absent}' if absent else ''}"
    return Finding("trackers", versions, f"{text}. For `track:` in a study, docs/trackers.md")


def _devices() -> list[Finding]:
    from tunelab.backends.torch.products import medium_is_exact

    backend = load_backend("torch")
    precision, threads = backend.resolve(precision="auto", threads=None)
    cuda, gpus = device.on_gpu(), device.all_names()
    advice = "no CUDA GPU; models above about 1 billion weights will be slow here" if not cuda else ""
    bf16 = precision == "bf16"
    exact = None if cuda else medium_is_exact()
    meaning = {
        True: "true fp32 here, and taken because they are faster",
        False: "bf16 here, and not taken",
        None: "not asked on a GPU",
    }[exact]
    return [
        Finding("device", backend.device(), ", ".join(gpus) or f"cpu, {_processor_count()} processors", advice),
        Finding("precision", precision, f"{precision} (bf16 products {'in hardware' if bf16 else 'not in hardware'})"),
        Finding("threads", threads, f"{threads} per run"),
        Finding("medium_products_exact", exact, f"'medium' fp32 products are {meaning}"),
    ]


def _speed(*, anew: bool) -> Finding:
    from tunelab.backends.torch.speed.kept import calibration

    _, threads = load_backend("torch").resolve(precision="auto", threads=None)
    found = calibration(threads=threads, anew=anew)
    rates = {dtype: [each for each in found.products if each.dtype == dtype] for dtype in found.dtypes}
    said = ", ".join(
        f"{dtype} {min(each.giga for each in squares):,.0f} to {max(each.giga for each in squares):,.0f}"
        for dtype, products in rates.items() if (squares := [each for each in products if len(set(each.shape)) == 1])
    )  # fmt: skip
    text = f"{said} GFLOP/s, copies {found.bandwidth / 1e9:,.0f} GB/s; the best of several, {threads} threads"
    value = {
        "gflops": {dtype: {each.name: round(each.giga, 1) for each in products} for dtype, products in rates.items()},
        "copied_gb_per_second": round(found.bandwidth / 1e9, 1), "threads": threads, "slower": round(found.slower, 2),
        "when": found.when,
    }  # fmt: skip
    busy = f"other work made them {found.slower:.1f} times as slow when they were measured; rates are without it"
    advice = f"{busy}. `tunelab doctor --calibrate` measures again" if found.slower > BUSY else ""
    return Finding("speed", value, f"{text}, measured {found.when[:10]}", advice)


def _energy() -> Finding:
    """None is needed: where it is missing the report says nothing of it."""
    from tunelab.training.energy.nvml import nvml_counters
    from tunelab.training.energy.rapl import POWERCAP, ZONES, rapl_counters

    found = {"rapl": len(rapl_counters()), "nvml": len(nvml_counters(device.all_uuids()))}
    hidden = not found["rapl"] and any(POWERCAP.glob(ZONES))
    advice = f"root can make {POWERCAP}/intel-rapl:*/energy_uj readable, for the energy of runs" if hidden else ""
    names = {"rapl": "processor packages (RAPL)", "nvml": "GPUs (NVML)"}
    said = ", ".join(f"{number} {names[method]}" for method, number in found.items() if number)
    return Finding("energy", found, f"measured of {said}" if said else "not measured here", advice)


def _backends() -> list[Finding]:
    """Those with an environment of their own."""
    lacks = {name: load_backend(name).missing() for name in catalogue.names("backends") if load_backend(name).opened_by}
    return [
        Finding(name, not lack, "not here: studies with this back end do not run" if lack else "prepared", lack)
        for name, lack in lacks.items()
    ]


def _processor_count() -> int:
    return os.cpu_count() or 1


def _memory_findings() -> list[Finding]:
    found = []
    if sys.platform == "linux":
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") / GIB
        found.append(Finding("memory_gib", round(total, 2), f"{total:.1f} GiB, {free:.1f} GiB of it free"))
    from tunelab.training.telemetry import ResidentMemory

    exact = ResidentMemory().method == "vmhwm-reset"
    advice = "" if exact else "memory peaks are sampled every 20 ms; Linux with a writable clear_refs gives exact ones"
    text = "exact peaks per phase (/proc/self/clear_refs)" if exact else "sampled peaks"
    return [*found, Finding("exact_memory_peaks", exact, text, advice)]


def _places() -> Iterator[Finding]:
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(HF_HUB_CACHE)
    free = shutil.disk_usage(_existing(Path.cwd())).free / GIB
    short = f"less than {ROOM_GIB:.0f} GiB free: checkpoints and models may not fit" if free < ROOM_GIB else ""
    yield Finding("cache", str(cache), f"{cache}{'' if cache.exists() else ' (not there yet)'}")
    yield Finding("free_disk_gib", round(free, 1), f"{free:.1f} GiB free in {Path.cwd()}", short)
    with stage("asking the hub"):
        reachable, why = _hub_reachable()
    offline = "" if reachable else "use tunelab/tiny, a local folder, or what the cache has; HF_ENDPOINT names a mirror"
    yield Finding("hub_reachable", reachable, "reachable" if reachable else f"not reachable ({why})", offline)


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _hub_reachable() -> tuple[bool, str]:
    """One request with a short limit; any answer at all means reachable."""
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return False, "HF_HUB_OFFLINE is set"
    try:
        urlopen(Request(ENDPOINT, method="HEAD"), timeout=HUB_SECONDS).close()
    except HTTPError:
        return True, ""
    except (URLError, OSError, ValueError) as error:
        return False, str(getattr(error, "reason", error)) or type(error).__name__
    return True, ""
