"""What a checkpoint's checksums notice, and what they leave alone."""

import json

import pytest

from tunelab.training.state import SUMS, Checkpoints, LoopState, damaged_files


def written(folder, *, kept=None):
    checkpoints = Checkpoints(folder, seconds=0)
    if kept is not None:
        checkpoints.keep(kept, lambda each: (each / "model.safetensors").write_bytes(b"best" * 100))
    state = LoopState(step=7, kept_step=kept)
    checkpoints.save(state, lambda each: (each / "updater.safetensors").write_bytes(b"state" * 100))
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
