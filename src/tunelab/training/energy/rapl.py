"""RAPL: processors count the energy of their packages (cores, caches, memory controllers), of everything that runs.

Linux shows it below /sys/class/powercap; since CVE-2020-8694 most systems let root alone read it. Memory modules and
the rest of the machine are not in it.
"""

from __future__ import annotations

from pathlib import Path

from tunelab.training.energy.counters import Counter

POWERCAP = Path("/sys/class/powercap")
ZONES = "intel-rapl:[0-9]*"
"""Of AMD's processors too. `intel-rapl-mmio:0` counts the same package once more, `intel-rapl:0:0` a part of it."""


def rapl_counters(powercap: Path = POWERCAP) -> list[Counter]:
    """One a package. Empty: there is none, or one that this user may not read."""
    zones = [zone for zone in sorted(powercap.glob(ZONES)) if zone.name.count(":") == 1]
    packages = [zone for zone in zones if (_text(zone / "name") or "").startswith("package")]
    counters = [counter for zone in packages if (counter := _counter(zone)) is not None]
    return counters if len(counters) == len(packages) else []


def _counter(zone: Path) -> Counter | None:
    full = _joules(zone / "max_energy_range_uj")
    if full is None or _joules(zone / "energy_uj") is None:
        return None
    return Counter(lambda: _joules(zone / "energy_uj"), full)


def _joules(file: Path) -> float | None:
    text = _text(file)
    return int(text) / 1e6 if text is not None and text.isdecimal() else None


def _text(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except OSError:
        return None
