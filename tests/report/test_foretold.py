"""Predicted memory beside measured: which numbers are held against each other, and when a difference is marked."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tunelab.entries import FILE, Device, Forecast
from tunelab.records import PhaseCost
from tunelab.report.foretold import foretold_phases, foretold_table, measured_mib
from tunelab.report.foretold_time import foretold_time

MIB = 2**20


def result(*, device: str, peak_mib: float, process_mib: float | None = 400):
    process = None if process_mib is None else process_mib / 1024
    phases = {"train": PhaseCost(seconds=1, peak_gib=peak_mib / 1024)}
    return SimpleNamespace(phases=phases, process_gib=process, provenance=SimpleNamespace(device=device))


def forecast(*, device: Device = "cpu", **train: int) -> Forecast:
    parts = {name.replace("_", " "): size * MIB for name, size in train.items()}
    load = {"process": 400 * MIB} if device == "cpu" else {}
    return Forecast(device=device, load=load, train=parts, evaluate={}, save={})


def comparison(*runs):
    found = [
        SimpleNamespace(state="finished", forecast=told, result=measured, entry=SimpleNamespace(method="lora"))
        for told, measured in runs
    ]
    return SimpleNamespace(groups=[SimpleNamespace(task="rows", runs=found)])


def test_a_process_is_on_neither_side():
    told = forecast(process=500, weights=100, optimizer_state=60)
    table = foretold_table(comparison((told, result(device="cpu", peak_mib=650))))  # pyright: ignore
    assert table is not None
    texts = [cell.text for cell in table.rows[0]]
    assert texts[:4] == ["lora", "250", "260", "+4%"]
    assert texts[4] == "100" and texts[6] == "60" and texts[-1] == "100"


@pytest.mark.parametrize(("measured", "said"), [(114, "-12%"), (130, "-23% *"), (80, "+25% *")])
def test_a_large_difference_is_marked(measured, said):
    told = forecast(device="cuda", weights=100)
    table = foretold_table(comparison((told, result(device="NVIDIA H200", peak_mib=measured))))  # pyright: ignore
    assert table is not None and table.rows[0][3].text == said


def test_without_a_forecast_there_is_no_table():
    assert foretold_table(comparison((None, result(device="cpu", peak_mib=650)))) is None  # pyright: ignore


def test_a_process_that_was_not_measured_leaves_the_measured_out():
    assert measured_mib(result(device="cpu", peak_mib=650, process_mib=None)) is None  # pyright: ignore
    assert FILE == "forecast.json"


def test_phases_beside_training():
    told = forecast(process=500, weights=100).model_copy(
        update={"evaluate": {"process": 500 * MIB}, "texts": {"process": 500 * MIB, "keys and values": 100 * MIB},
                "save": {"process": 600 * MIB}}
    )  # fmt: skip
    phases = {name: PhaseCost(seconds=1, peak_gib=size / 1024) for name, size in PEAKS.items()}
    found = result(device="cpu", peak_mib=0)
    found.phases = phases
    table = foretold_phases(comparison((told, found)))  # pyright: ignore
    assert table is not None
    assert [[cell.text for cell in row[1:]] for row in table.rows] == [
        ["validate", "110", "100", "-9%"], ["evaluate", "190", "200", "+5%"], ["save", "250", "200", "-20% *"],
    ]  # fmt: skip
    found.provenance.device = "NVIDIA H200"
    on_gpu = forecast(device="cuda", weights=9).model_copy(update={"load": {"weights": 400 * MIB}})
    table = foretold_phases(comparison((on_gpu, found)))  # pyright: ignore
    assert table is not None
    assert [cell.text for cell in table.rows[0][1:]] == ["load", "450", "400", "-11%"]


PEAKS = {"load": 450, "train": 600, "validate": 510, "evaluate": 590, "save": 650}


def test_time_beside_what_was_measured():
    told = forecast(weights=1).model_copy(update={"seconds": {"train": 60.0, "evaluate": 4.0}})
    found = result(device="cpu", peak_mib=650)
    found.phases = {"train": PhaseCost(seconds=50.0), "evaluate": PhaseCost(seconds=4.1), "save": PhaseCost(seconds=1)}
    table = foretold_time(comparison((told, found)))  # pyright: ignore
    assert table is not None
    texts = [[cell.text for cell in row] for row in table.rows]
    assert texts == [["lora", "train", "50.0 s", "60.0 s", "+20% *"], ["lora", "evaluate", "4.10 s", "4.00 s", "-2%"]]
    assert foretold_time(comparison((forecast(weights=1), found))) is None  # pyright: ignore
