"""What killed processes have left in a run's folder goes; what a living one writes stays."""

import json
import os

import pytest

from report.study_folder import write_study
from tunelab.errors import UnreadableRun
from tunelab.launch.control.aside import put_aside_damaged, sweep_finished
from tunelab.ownership import this_process
from tunelab.study.executing.attempt import attempt
from tunelab.study.store import RunFolder, Store

LEFT = ["checkpoint/.writing-0123456789ab/model.safetensors", ".model/adapter.safetensors", ".steps.jsonl.00.tmp",
        "evaluations/.present/run.json"]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    write_study(tmp_path, tasks=("restaurants",), seeds=(0,), spoil=False)
    folder = RunFolder(next((tmp_path / "runs").glob("full*")))
    for name in [*LEFT, "checkpoint/step-000000007/loop.json", "texts.jsonl"]:
        (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.path / name).write_text("{}")
    return folder


def held_by(folder: RunFolder, *, alive: bool) -> None:
    me = this_process()
    holder = me if alive else me._replace(start="0")
    (folder.path / "owner-000001.json").write_text(json.dumps(holder._asdict()))


def test_an_unfinished_run_keeps_what_it_goes_on_with(folder):
    (folder.path / "result.json").unlink()
    with attempt(folder):
        assert not any((folder.path / name).exists() for name in LEFT)
        assert (folder.path / "checkpoint/step-000000007/loop.json").exists() and folder.texts.exists()


def test_a_finished_run_keeps_neither_checkpoint_nor_lock_of_the_dead(folder):
    held_by(folder, alive=False)
    sweep_finished(Store(folder.study_folder))
    assert not folder.checkpoint.exists() and not folder.texts.exists() and folder.held() is None
    assert not any((folder.path / name).exists() for name in LEFT) and folder.finished


def test_nothing_is_taken_from_a_living_process(folder):
    held_by(folder, alive=True)
    (folder.path / "steps.jsonl").write_text("{}\n")
    sweep_finished(Store(folder.study_folder))
    (folder.path / "result.json").unlink()
    assert list(put_aside_damaged(Store(folder.study_folder))) == []
    assert folder.checkpoint.exists() and folder.texts.exists() and os.listdir(folder.path / "checkpoint")


def test_of_damaged_runs_each_is_kept_under_a_name_of_its_own(folder):
    for _ in range(2):
        write_study(folder.study_folder, tasks=("restaurants",), seeds=(0,), spoil=False)
        (folder.path / "result.json").write_text("{")
        (line,) = put_aside_damaged(Store(folder.study_folder))
        assert line.startswith(f"{folder.path / 'result.json'}: damaged") and not folder.path.exists()
    kept = sorted(path.name for path in (folder.study_folder / "damaged").iterdir())
    assert kept == [folder.path.name, f"{folder.path.name}-2"]


def test_a_result_of_another_version_is_no_damage(folder):
    facts = json.loads((folder.path / "result.json").read_text())
    (folder.path / "result.json").write_text(json.dumps({**facts, "a_field_of_tomorrow": 1}))
    assert list(put_aside_damaged(Store(folder.study_folder))) == [] and folder.path.is_dir()
    with pytest.raises(UnreadableRun, match="another version"):
        folder.read_result()
