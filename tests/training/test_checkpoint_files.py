"""Checkpoints are written whole or not at all; what their checksums notice, and what they leave alone."""

import errno
import json

import pytest

from tunelab.errors import RunBusy
from tunelab.training import state
from tunelab.training.state import SUMS, Checkpoints, LoopState, damaged_files


def written(folder, *, kept=None):
    checkpoints = Checkpoints(folder, seconds=0)
    if kept is not None:
        checkpoints.keep(kept, lambda each: (each / "model.safetensors").write_bytes(b"best" * 100))
    checkpoints.save(
        LoopState(step=7, kept_step=kept), lambda each: (each / "updater.safetensors").write_bytes(b"state" * 100)
    )
    return checkpoints


def test_an_untouched_one_is_sound(tmp_path):
    checkpoints = written(tmp_path, kept=3)
    assert checkpoints.drop_damaged() == []
    assert checkpoints.latest()[0].step == 7 and checkpoints.kept(3).exists()
    assert set(json.loads((tmp_path / "step-000000007" / SUMS).read_text())) == {"loop.json", "updater.safetensors"}


def test_none_is_none(tmp_path):
    assert Checkpoints(tmp_path / "nothing", seconds=0).drop_damaged() == []


@pytest.mark.parametrize("where", ["step-000000007/updater.safetensors", "kept-000000003/model.safetensors"])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone", "longer"])
def test_what_is_not_as_it_was_written_is_dropped_with_all_that_stands_on_it(where, how, tmp_path):
    checkpoints = written(tmp_path, kept=3)
    file = tmp_path / where
    data = bytearray(file.read_bytes())
    data[100] ^= 16
    changed = {"flipped": bytes(data), "cut": bytes(data[:50]), "longer": file.read_bytes() + b"\0"}
    file.unlink() if how == "gone" else file.write_bytes(changed[how])
    (note,) = checkpoints.drop_damaged()
    assert note == f"its checkpoint of step 7 was damaged ({file.name}), so the run began anew"
    assert checkpoints.latest() is None and not checkpoints.kept(3).exists()


@pytest.mark.parametrize("place", [0, 15, 16, 250, 499])
def test_a_bit_that_turned_is_noticed_in_every_block_of_a_file(place, tmp_path, monkeypatch):
    monkeypatch.setattr(state, "BLOCK", 16)
    written(tmp_path)
    file = tmp_path / "step-000000007" / "updater.safetensors"
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    assert damaged_files(file.parent) == ["updater.safetensors"]


@pytest.mark.parametrize("text", ["", "[]", "{", "\0" * 20])
def test_damaged_checksums_are_damage(text, tmp_path):
    checkpoints = written(tmp_path)
    (tmp_path / "step-000000007" / SUMS).write_text(text)
    assert "was damaged" in checkpoints.drop_damaged()[0] and checkpoints.latest() is None


def test_kept_weights_that_are_gone_are_damage(tmp_path):
    checkpoints = written(tmp_path, kept=3)
    for path in checkpoints.kept(3).iterdir():
        path.unlink()
    checkpoints.kept(3).rmdir()
    assert "(kept-000000003)" in checkpoints.drop_damaged()[0]


def test_one_of_an_older_version_is_taken_as_it_is(tmp_path):
    checkpoints = written(tmp_path)
    (tmp_path / "step-000000007" / SUMS).unlink()
    assert damaged_files(tmp_path / "step-000000007") == [] and checkpoints.drop_damaged() == []
    (tmp_path / "step-000000007" / "loop.json").write_text("{")
    assert checkpoints.latest() is None
    assert "(loop.json)" in checkpoints.drop_damaged()[0] and not tmp_path.exists()


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def half(folder):
    """What a full disk does to the second file."""
    (folder / "updater.safetensors").write_bytes(b"other state")
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", [7, 9], ids=["the same step", "a later one"])
@pytest.mark.parametrize("kept", [False, True])
def test_one_that_is_half_written_leaves_the_last_one_as_it_was_and_nothing_beside_it(kept, step, tmp_path):
    checkpoints = written(tmp_path, kept=3)
    before = files_of(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.keep(step, half) if kept else checkpoints.save(LoopState(step=step), half)
    assert files_of(tmp_path) == before
    assert [path.name for path in tmp_path.glob(".writing-*")] == [], "a full disk stays full"
    assert checkpoints.latest()[0].step == 7 and checkpoints.drop_damaged() == []
    checkpoints.save(LoopState(step=9), lambda each: (each / "updater.safetensors").write_bytes(b"other state"))
    assert checkpoints.latest()[0].step == 9


def test_one_whose_run_was_taken_over_meanwhile_gets_no_name(tmp_path):
    written(tmp_path)
    before, asked = files_of(tmp_path), []

    def check():
        asked.append(1)
        if len(asked) > 1:
            raise RunBusy("taken over")

    checkpoints = Checkpoints(tmp_path, seconds=0, check=check)
    with pytest.raises(RunBusy):
        checkpoints.save(LoopState(step=9), lambda each: (each / "updater.safetensors").write_bytes(b"x"))
    assert files_of(tmp_path) == before
