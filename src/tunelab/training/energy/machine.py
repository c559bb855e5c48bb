"""Which counters measure a run: those of this machine's processors, and those of its GPUs."""

from __future__ import annotations

from tunelab import device
from tunelab.training.energy.counters import EnergyMeter
from tunelab.training.energy.nvml import nvml_counters
from tunelab.training.energy.rapl import rapl_counters


def own_energy(*, num_gpus: int, num_nodes: int = 1) -> EnergyMeter:
    """
    Args:
        num_gpus: the first so many are the run's. 0: it computes on the processor.
        num_nodes: over several, the others' counters cannot be read from here and nothing is measured.
    """
    if num_nodes > 1:
        return EnergyMeter()
    gpus = device.all_uuids()[:num_gpus] if num_gpus else []
    return EnergyMeter({"rapl": rapl_counters(), "nvml": nvml_counters(gpus)})
