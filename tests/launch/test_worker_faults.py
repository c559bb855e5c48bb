"""A worker that the system ends says where it was."""

import signal
import subprocess
import sys

import pytest

from tunelab.study.store import RunFolder

pytestmark = pytest.mark.slow

SCRIPT = """
import os, signal, sys
from pathlib import Path
from tunelab.launch import worker
from tunelab.study.store import RunFolder

def faulty_line():
    os.kill(os.getpid(), signal.SIGSEGV)

worker.live(RunFolder(Path(sys.argv[1])), before=faulty_line)
"""


def test_its_log_has_the_line_of_a_fault(tmp_path):
    ended = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, timeout=300)
    assert ended.returncode == -signal.SIGSEGV
    assert "in faulty_line" in RunFolder(tmp_path).log.read_text()
