"""Jobs in forks of this process: each done once, and nothing of them left."""

import os
import time
from functools import partial

from tunelab.data import kept
from tunelab.study.foresight.apart import made_apart


def test_each_is_done_once_whatever_another_raises(tmp_path):
    def job(number):
        with (tmp_path / str(number)).open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.02)
        assert number != 3

    made_apart([partial(job, number) for number in range(9)], processes=2)
    pids = [int(path.read_text()) for path in tmp_path.iterdir()]
    assert len(pids) == 9 and os.getpid() not in pids and len({*pids}) <= 2
    made_apart([partial(job, 10)], processes=2)
    made_apart([partial(job, 10), partial(job, 11)], processes=1)
    assert not (tmp_path / "10").exists(), "alone it would be no faster"


def test_what_they_find_together_is_all_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNELAB_CACHE", str(tmp_path))
    made_apart([partial(kept.looked_up, f"key {number}", lambda: 7) for number in range(60)], processes=3)
    assert all(kept.is_known(f"key {number}") for number in range(60))
    assert not kept.is_known("key 60")
