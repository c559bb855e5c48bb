"""One study a tracker, mirrored once for all of its tests."""

import pytest

from trackers.mirrored import mirrored_twice, required


@pytest.fixture(scope="module")
def results(request, tmp_path_factory):
    """The results folder, by the name of the module: test_wandb.py has that of wandb."""
    name = request.module.__name__.rpartition("test_")[2]
    required(name)
    folder = tmp_path_factory.mktemp(name)
    mirrored_twice(folder, name)
    return folder
