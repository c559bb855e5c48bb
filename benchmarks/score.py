"""Seconds to score the full E2E test set (630 outputs, 4,693 references) beside coco-caption's own code, one core.

    python benchmarks/score.py testset_w_refs.csv [--repeats 3]

Outputs are one reference of each example with every twelfth word left out. Every row is a command in a fresh process,
imports and JVM start included, bound to one core; seconds of processor are its own and its children's. The peers are
pycocoevalcap's tokeniser, Rouge, Cider and Meteor (what the E2E script runs), and sacrebleu.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

PEER = """
import json, sys
references = json.load(open(sys.argv[2]))
outputs = open(sys.argv[1]).read().split("\\n")[:-1]
which = sys.argv[3]
if which == "sacrebleu":
    import sacrebleu
    from itertools import zip_longest
    print(sacrebleu.corpus_bleu(outputs, list(zip_longest(*references))).score)
else:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
    gts = PTBTokenizer().tokenize({i: [{"caption": t} for t in r] for i, r in enumerate(references)})
    res = PTBTokenizer().tokenize({i: [{"caption": t}] for i, t in enumerate(outputs)})
    if which == "meteor":
        from pycocoevalcap.meteor.meteor import Meteor
        print(Meteor().compute_score(gts, res)[0])
    else:
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge
        print(Rouge().compute_score(gts, res)[0], Cider().compute_score(gts, res)[0])
"""


class Seconds(NamedTuple):
    processor: float
    wall: float
    said: str


def write_texts(table: Path, folder: Path) -> tuple[Path, Path, Path]:
    from tunelab.evaluation.text_files import read_references

    groups = read_references(table)
    outputs = []
    for row, group in enumerate(groups):
        words = group[row % len(group)].split()
        outputs.append(" ".join(word for place, word in enumerate(words) if (place + row) % 12))
    hypotheses, references, as_json = folder / "outputs.txt", folder / "references.txt", folder / "references.json"
    hypotheses.write_text("\n".join(outputs) + "\n")
    references.write_text("\n\n".join("\n".join(group) for group in groups) + "\n")
    as_json.write_text(json.dumps(groups))
    print(f"{len(outputs)} outputs, {sum(map(len, groups))} references")
    return hypotheses, references, as_json


def measure(command: list[str]) -> Seconds:
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return Seconds(processor, time.perf_counter() - start, done.stdout.strip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    with tempfile.TemporaryDirectory() as folder:
        outputs, references, as_json = write_texts(arguments.table, Path(folder))

        def ours(metrics: str) -> list[str]:
            return [sys.executable, "-m", "tunelab", "score", str(outputs), str(references), "--metrics", metrics]

        def theirs(which: str) -> list[str]:
            return [sys.executable, "-c", PEER, str(outputs), str(as_json), which]

        rows = {
            "tunelab score bleu,nist,rouge_l,cider": ours("bleu,nist,rouge_l,cider"),
            "tunelab score bleu:e2e,nist,rouge_l:coco,cider": ours("bleu:e2e,nist,rouge_l:coco,cider"),
            "tunelab score rouge_l:coco,cider": ours("rouge_l:coco,cider"),
            "pycocoevalcap Rouge, Cider": theirs("rouge, cider"),
            "tunelab score bleu": ours("bleu"),
            "sacrebleu": theirs("sacrebleu"),
            "tunelab score meteor": ours("meteor"),
            "pycocoevalcap Meteor": theirs("meteor"),
        }
        # Interleaved, so that other load falls on all alike.
        taken = [{name: measure(command) for name, command in rows.items()} for _ in range(arguments.repeats)]
    for name in rows:
        each = [round_[name] for round_ in taken]
        processor, wall = min(one.processor for one in each), min(one.wall for one in each)
        print(f"{name:<50} processor {processor:6.2f} s  wall {wall:6.2f} s")
        print("    " + each[0].said.replace("\n", "\n    "))


if __name__ == "__main__":
    main()
