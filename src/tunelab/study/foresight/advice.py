"""What a run whose memory ran out is told: what was predicted for it, what there is, and the way out."""

from __future__ import annotations

import functools

from tunelab.config.run import RunConfig
from tunelab.device import cpu_bytes, gpu_bytes
from tunelab.entries import MIB, Device
from tunelab.study.foresight.fits import Setting, way_out
from tunelab.study.foresight.known import foreseen
from tunelab.study.foresight.memory import filled, foreseen_setting
from tunelab.study.planning.plan import method_of


def advice(run: RunConfig) -> str:
    """Part of a sentence; empty: nothing can be told of this run."""
    method = method_of(run.method) if not run.parents else None
    if method is None or not method.trains or run.ranks.shard:
        return ""
    gpu = gpu_bytes()
    on: Device = "cpu" if gpu is None else "cuda"
    limit = gpu or cpu_bytes()
    setting = Setting(run, method, filled(run.model, run.batch, run.batch.max_length))  # smaller ones have been tried
    forecast = foreseen(run, method, setting.rows, on=on)
    if forecast is None:
        return ""
    said = f"; about {forecast.peak // MIB:,} MiB were predicted for one row, and there are {limit // MIB:,} MiB"
    way = way_out(
        setting, min(limit, forecast.peak * 3 // 4), functools.partial(foreseen_setting, on=on), smaller=False
    )
    if way is None:
        return f"{said}; no checkpointing, optimizer or base is predicted to take a quarter less"
    return f"{said}; with {', '.join(way.said)} about {way.forecast.peak // MIB:,} MiB"
