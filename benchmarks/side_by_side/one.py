"""One side of one comparison, in this process: its measurements as JSON on the last line of standard output.

python -m side_by_side.one WHAT WORKLOAD MODE OUT FOLDER ...: called by benchmarks/peers.py.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path

from side_by_side.workloads import named, tiny


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["prepare", "ours", "other", "peer"])
    parser.add_argument("workload")
    parser.add_argument("mode")
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--warm-up", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    for name in ("tiny", "profile", "floor"):
        parser.add_argument(f"--{name}", action="store_true")
    given = parser.parse_args()
    (workload,) = named([given.workload])
    workload = tiny(workload) if given.tiny else workload
    common = dict(mode=given.mode, steps=given.steps, warm_up=given.warm_up, threads=given.threads, out=given.out)
    with contextlib.redirect_stdout(sys.stderr):
        if given.what in ("ours", "other"):
            import side_by_side.our_side as our_side

        from side_by_side.prepare import prepare, work_folder

        about = prepare(given.folder, workload, steps=given.steps, real=False if given.tiny else None)
        if given.what == "prepare":
            found = about
        elif workload.peer == "generate":
            from side_by_side import generation

            answer = generation.ours if given.what == "ours" else generation.peer
            place = work_folder(given.folder, workload, given.steps)
            found = answer(place, workload, mode=given.mode, threads=given.threads)
        elif given.what == "peer":
            from side_by_side.peer_side import train

            found = train(given.folder, workload, about, **common, profile=given.profile)
        else:
            method = workload.ours if given.what == "ours" else workload.other
            found = our_side.train(
                given.folder, workload, about, **common, method=method, profile=given.profile, floor=given.floor
            )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
