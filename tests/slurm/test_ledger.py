"""OUT/slurm/jobs.jsonl: what was submitted stands there, whatever is interrupted."""

import os
import signal

import pytest

from tunelab.slurm import queue
from tunelab.slurm.ledger import Ledger
from tunelab.slurm.script import Script


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_waits_until_the_job_is_written_down(tmp_path, monkeypatch, number):
    monkeypatch.setattr(queue, "submit", lambda path: os.kill(os.getpid(), number) or "12")
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    of_python = signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            Ledger(tmp_path).submit(Script("name", "text"), "a.sh", kind="wave", submission="s", when="now")
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, of_python)
    assert [each.job for each in Ledger(tmp_path).read()] == ["12"]
