"""Two gloo ranks of one thread each against one process of two threads, on the same two cores.

    python benchmarks/ranks.py [--pairs 6] [--layers 6]

Prints the table of benchmarks/ranks_*.md. Both take the same steps (LLaMA-like, 16 rows of 128 tokens in
four micro-batches), turn by turn inside one run, so that other load falls on both; rank 1 sleeps while the one process
computes. Processor seconds are those of both ranks.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from galore_step import METHODS, batches, llama, session
from torch import distributed

from tunelab.backends.torch.ranks import peers as meeting
from tunelab.backends.torch.ranks.ranked import RankedSession
from tunelab.backends.torch.ranks.share import serve
from tunelab.config.launch import MEETING
from tunelab.methods.lora import Lora
from tunelab.training import ranks

METHODS |= {"lora": Lora(rank=8)}
MEASURED = ("lora", "full", "galore")
TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(pids: list[int]) -> float:
    fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / TICKS


def step(one, shares, *, number: int, pids: list[int]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, processor = time.perf_counter(), processor_seconds(pids)
    denominator = sum(batch.num_supervised for share in shares for batch in share)
    while one.wants_look(num_batches=4):
        with one.look():
            one.accumulate_shares(shares, denominator=denominator, key=(0, number))
    one.accumulate_shares(shares, denominator=denominator, key=(0, number))
    one.gradient_norm()
    one.update(learning_rate=1e-4, max_norm=1.0)
    return time.perf_counter() - wall, processor_seconds(pids) - processor


def measure(name: str, peers: meeting.Peers, *, pairs: int, layers: int) -> None:
    single, ranked = session(name, llama(layers=layers)), RankedSession(session(name, llama(layers=layers)), peers)
    pids = peers.share(os.getpid())
    found: dict[str, list[tuple[float, float]]] = {"one": [], "two": []}
    for number in range(pairs + 1):
        parts = batches(number)
        torch.set_num_threads(2)
        with ranks.alone():
            found["one"].append(step(single, [parts], number=number, pids=pids))
        torch.set_num_threads(1)
        found["two"].append(step(ranked, [parts[::2], parts[1::2]], number=number, pids=pids))
    peers.tell(meeting.END)
    one, two = found["one"][1:], found["two"][1:]  # the first allocates, and finds GaLore's bases
    wall = statistics.median(each[0] for each in one), statistics.median(each[0] for each in two)
    processor = statistics.median(each[1] for each in one), statistics.median(each[1] for each in two)
    ratios = [
        statistics.median(second[clock] / first[clock] for first, second in zip(one, two, strict=True))
        for clock in (0, 1)
    ]
    print(
        f"| {name} | {wall[0]:.2f} | {wall[1]:.2f} | {ratios[0]:.2f} | {processor[0]:.2f} | {processor[1]:.2f} "
        f"| {ratios[1]:.2f} |",
        flush=True,
    )


def rank(number: int, folder: str, pairs: int, layers: int) -> None:
    os.environ |= {"RANK": str(number), "WORLD_SIZE": "2", "LOCAL_RANK": str(number), MEETING: f"{folder}/meeting"}
    torch.set_num_threads(1)
    peers = meeting.meet(number, 2)
    if number == 0:
        print("| method | wall s, one | two ranks | ratio | processor s, one | two ranks | ratio |")
        print("|---|---|---|---|---|---|---|", flush=True)
    for name in MEASURED:
        if number == 0:
            measure(name, peers, pairs=pairs, layers=layers)
        else:
            local = session(name, llama(layers=layers))
            peers.share(os.getpid())
            serve(local, peers)
    distributed.barrier()
    distributed.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--layers", type=int, default=6)
    given = parser.parse_args()
    os.environ["OMP_WAIT_POLICY"] = "passive"
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.get_context("spawn")
        processes = [
            context.Process(target=rank, args=(number, folder, given.pairs, given.layers), daemon=True)
            for number in range(2)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()


if __name__ == "__main__":
    main()
