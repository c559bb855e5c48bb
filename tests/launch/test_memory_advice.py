"""A run whose memory ran out is told what was predicted for it and what would fit; its failure is named in any case."""

from __future__ import annotations

import json

import pytest

import tiny
from launch.test_resume import prepared
from tunelab.errors import NoMemory
from tunelab.launch import worker
from tunelab.study.foresight import advice


@pytest.fixture
def folder(tmp_path, monkeypatch):
    _, found = prepared(tmp_path / "out", tiny.model_folder(tmp_path / "model"), "full")

    def no_memory(*given, **options):
        raise NoMemory("memory ran out while one row of 99 tokens was trained; lower batch.max_length")

    monkeypatch.setattr(worker, "execute", no_memory)
    return found


def failure(folder) -> str:
    assert worker.work(folder, lambda event: None) == 1
    return json.loads((folder.path / "failure.json").read_text())["error"]


def test_the_way_out_was_predicted(folder):
    said = failure(folder)
    assert said.startswith("memory ran out while one row of 99 tokens was trained")
    assert " MiB were predicted for one row, and there are " in said and "batch.max_tokens" not in said


def test_a_prediction_that_breaks_hides_no_failure(folder, monkeypatch):
    def broken(*given, **options):
        raise ZeroDivisionError

    monkeypatch.setattr(advice, "foreseen", broken)
    assert failure(folder).endswith("lower batch.max_length")
