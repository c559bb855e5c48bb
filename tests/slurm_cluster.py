"""The SLURM cluster that scripts/slurm-test-cluster starts: the script, jobs, and waiting for what they do."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "slurm-test-cluster"


def script(verb: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, verb, *arguments], capture_output=True, text=True)


def wait_for(true: Callable[[], Any], *, seconds: float = 60) -> float:
    """Seconds until `true` said something true."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() < began + seconds, f"not within {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - began


class SlurmCluster(NamedTuple):
    """Its commands find it by SLURM_CONF in the environment."""

    folder: Path

    def script(self, verb: str, *arguments: str | Path) -> str:
        done = script(verb, *arguments, "--folder", self.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def down(self) -> list[str]:
        """Daemons that do not run, by name."""
        lines = [line.split() for line in self.script("status").splitlines()]
        return [words[0] for words in lines if words[1:] == ["down"]]

    def pids(self) -> set[int]:
        """Of everything: daemons, jobs, orphans."""
        words = [line.split() for line in self.script("status").splitlines()]
        return {int(line[line.index("process") + 1]) for line in words if "process" in line}

    def say(self, *command: str) -> str:
        """What a SLURM command prints."""
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def submit(self, text: str, *options: str, folder: Path) -> str:
        """The job id. The text is bash; it prints into folder/JOB.txt, of an array folder/JOB_TASK.txt."""
        job = folder / "job.sh"
        job.write_text(f"#!/bin/bash\n{text}\n")
        name = "%A_%a.txt" if any(option.startswith("--array") for option in options) else "%j.txt"
        into = ["--output", str(folder / name), "--open-mode=append", "--chdir", str(folder)]
        return self.say("sbatch", "--parsable", *into, *options, str(job))

    def jobs(self) -> list[dict[str, Any]]:
        """As `squeue --json` has them: finished ones too, a task of an array by itself once it has begun."""
        return json.loads(self.say("squeue", "--json"))["jobs"]

    def ended(self, *, seconds: float = 240, look: Callable[[], None] = lambda: None) -> None:
        """When no job is left; what SLURM itself could not begin on a busy machine it tries again."""
        began, looked = time.monotonic(), 0.0
        while left := self.say("squeue", "--noheader"):
            assert time.monotonic() < began + seconds, (
                f"not within {seconds} s\n{left}\n{self.say('sinfo', '-R', '-l')}"
            )
            look()
            if time.monotonic() > looked + 10:
                self.script("repair")
                looked = time.monotonic()
            time.sleep(0.1)

    def calm(self) -> None:
        """No job, and every node up again."""
        for name in self.down():
            self.script("start-node", name)
        self.say("scancel", "--user", str(os.getuid()))
        self.ended(seconds=60)
        self.script("repair")
