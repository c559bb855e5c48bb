"""The pretended device finds faults: each is planted in the source, and the examination must complain of it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_every_planted_fault_is_found(tmp_path):
    from pretend_gpu.faults import FAULTS

    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    command = [sys.executable, "-m", "pretend_gpu.faults", str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found.keys() == {fault.what for fault in FAULTS} and len(FAULTS) >= 15
    missed = [
        f"{fault.what} ({fault.file}): {found[fault.what] or 'nothing was said'}"
        for fault in FAULTS
        if not any(re.search(fault.said, said) for said in found[fault.what])
    ]
    assert not missed, "\n".join(missed)
