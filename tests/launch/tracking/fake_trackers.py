"""Trackers of a package of one's own, declared by entry points: one that keeps lines, and ones that misbehave."""

from __future__ import annotations

import os
from pathlib import Path

KEEPS = '''
"""Keeps a line a thing it is told."""
from typing import ClassVar
from tunelab.tracker_contract import Tracker

class Keeps(Tracker):
    packages: ClassVar = ()
    install: ClassVar = ""
    look: ClassVar = "cat {folder}/told.txt"
    def _tell(self, *words):
        with (self.folder / "told.txt").open("a") as file:
            print(*words, file=file)
    def begin(self, run, *, anew):
        there = (self.folder / "told.txt").exists() and run.id in (self.folder / "told.txt").read_text()
        self._tell("begin", run.id)
        return there
    def send(self, run_id, points):
        self._tell("send", *(point.step for point in points))
    def end(self, run_id, ending):
        self._tell("end", ending.status)
'''
HANGS = KEEPS.replace('self._tell("send", *(point.step for point in points))', "import time; time.sleep(1000)")
RAISES = KEEPS.replace(
    'self._tell("send", *(point.step for point in points))', 'raise ValueError("no room\\nfor more")'
)
DIES = KEEPS.replace(
    'self._tell("send", *(point.step for point in points))', "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
)
HEAVY = HANGS.replace("import time; time.sleep(1000)", 'import subprocess; subprocess.run(["sleep", "1000"])')
ABSENT = KEEPS.replace("packages: ClassVar = ()", 'packages: ClassVar = ("no_such_package",)').replace(
    'install: ClassVar = ""', 'install: ClassVar = "pip install no-such-package"'
)
ALL = {"keeps": KEEPS, "hangs": HANGS, "raises": RAISES, "dies": DIES, "heavy": HEAVY, "absent": ABSENT}


def install(folder: Path) -> str:
    """Write them as an installed package; what PYTHONPATH must be for processes to find it."""
    about = folder / "fake_trackers-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-trackers\nVersion: 1.0\n")
    points = "\n".join(f"{name} = fake_{name}" for name in ALL)
    (about / "entry_points.txt").write_text(f"[tunelab.trackers]\n{points}\n")
    for name, source in ALL.items():
        (folder / f"fake_{name}.py").write_text(source.lstrip())
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
