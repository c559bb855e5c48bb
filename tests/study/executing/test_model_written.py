"""What a run has trained is under its name when it is whole; a half is taken away."""

import errno
from types import SimpleNamespace
from typing import Any

import pytest

from tunelab.study.executing.execute import _write_model
from tunelab.study.store import RunFolder


def work(folder: RunFolder, write: Any) -> Any:
    session = SimpleNamespace(write_model=write)
    return SimpleNamespace(folder=folder, session=session, text=SimpleNamespace(encoder_decoder=False))


def test_a_model_that_is_half_written_leaves_the_one_before_and_no_other_folder(tmp_path):
    folder, data = RunFolder(tmp_path), SimpleNamespace(plain_conversations=0)

    def whole(there):
        (there / "model.safetensors").write_bytes(b"whole")
        return 5.0

    def half(there):
        (there / "model.safetensors").write_bytes(b"ha")
        raise OSError(errno.ENOSPC, "No space left on device")

    assert _write_model(work(folder, whole), data) == 5.0
    with pytest.raises(OSError, match="No space left"):
        _write_model(work(folder, half), data)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (folder.model / "model.safetensors").read_bytes() == b"whole"
