"""scripts/slurm-test-cluster: what other tests of SLURM stand on. The seconds are those that the script states."""

import re
import socket
from pathlib import Path

import pytest

from slurm_cluster import SlurmCluster, script, wait_for

pytestmark = pytest.mark.slow

WRITES = """
echo start $SLURMD_NODENAME $$ ${SLURM_RESTART_COUNT:-0} $(date +%s.%N)
trap 'echo USR1 $(date +%s.%N)' USR1
trap 'echo TERM $(date +%s.%N); exit' TERM
while true; do echo $$ >> beat; sleep 0.2; done
"""
"""Says when it starts and what it is told, and adds its process to a file as long as it lives."""


def said(text: Path, word: str) -> list[list[str]]:
    """Lines that begin with the word, without it."""
    lines = text.read_text().splitlines() if text.exists() else []
    return [line.split()[1:] for line in lines if line.startswith(f"{word} ")]


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def test_a_second_start_finds_the_first_and_prints_one_line(slurm):
    before = slurm.pids()
    assert slurm.script("start") == f"export SLURM_CONF={slurm.folder}/slurm.conf\n"
    assert slurm.pids() == before
    assert slurm.down() == []


def test_another_size_in_the_same_folder_is_refused(slurm):
    refused = script("start", "--nodes", "2", "--folder", slurm.folder)
    assert refused.returncode == 1 and "3 nodes with 2 slots" in refused.stderr and refused.stdout == ""


def test_a_folder_with_something_else_is_left_alone(slurm, tmp_path):
    (tmp_path / "mine").write_text("text")
    refused = script("start", "--folder", tmp_path)
    assert refused.returncode == 1 and "holds something else" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_unknown_node_is_one_line(slurm):
    refused = script("kill-node", "n9", "--folder", slurm.folder)
    assert "has no n9; it has munged, slurmctld, n1, n2, n3" in refused.stderr and "Traceback" not in refused.stderr


def test_an_array_runs_on_several_nodes(slurm, tmp_path):
    job = slurm.submit("hostname; echo node $SLURMD_NODENAME", "--array=0-2", "--cpus-per-task=2", folder=tmp_path)
    texts = [tmp_path / f"{job}_{task}.txt" for task in range(3)]
    wait_for(lambda: all(said(text, "node") for text in texts))
    assert {said(text, "node")[0][0] for text in texts} == {"n1", "n2", "n3"}
    assert {text.read_text().splitlines()[0] for text in texts} == {socket.gethostname()}


def test_fake_gpus_are_visible_to_their_job(slurm, tmp_path):
    jobs = [slurm.submit("echo gpus $CUDA_VISIBLE_DEVICES $SLURM_JOB_GPUS; sleep 2", "--gres=gpu:1", folder=tmp_path)]
    jobs += [slurm.submit("echo gpus $CUDA_VISIBLE_DEVICES $SLURM_JOB_GPUS", "--gres=gpu:2", folder=tmp_path)]
    texts = [tmp_path / f"{job}.txt" for job in jobs]
    wait_for(lambda: all(said(text, "gpus") for text in texts))
    assert [said(text, "gpus")[0] for text in texts] == [["0", "0"], ["0,1", "0,1"]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--partition=nope"], "invalid partition specified: nope"),
        (["--partition=lab", "--account=other"], "Invalid account or account/partition combination"),
        (["--gres=gpu:3"], "Requested node configuration is not available"),
        (["--gres=tpu:1"], "Invalid generic resource"),
        (["--partition=short", "--time=3"], "Requested time limit is invalid"),
        (["--cpus-per-task=3"], "CPU count per node can not be satisfied"),
    ],
)
def test_what_can_never_run_is_refused_when_submitted(slurm, tmp_path, options, words):
    with pytest.raises(AssertionError, match=words):
        slurm.submit("true", *options, folder=tmp_path)


def listening(pids: set[int]) -> set[tuple[int, str]]:
    """Processes and the addresses at which they listen, as the kernel writes them."""
    address = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:] if Path(table).exists() else []:
            fields = line.split()
            if fields[3] == "0A":
                address[f"socket:[{fields[9]}]"] = fields[1].partition(":")[0]
    found = set()
    for pid in pids:
        links = [link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
        found |= {(pid, address[link]) for link in links if link in address}
    return found


def test_nothing_listens_but_on_the_loopback_address(slurm, tmp_path):
    job = slurm.submit("srun bash -c 'echo step; sleep 60'", "--nodes=2", "--ntasks=2", folder=tmp_path)
    wait_for(lambda: (tmp_path / f"{job}.txt").exists() and (tmp_path / f"{job}.txt").read_text().count("step") == 2)
    found = listening(slurm.pids())
    assert len({pid for pid, _ in found}) >= 5, "the controller, three nodes and srun listen"
    assert {address for _, address in found} == {"0100007F"}


def test_a_requeued_task_starts_again_and_its_sibling_does_not_notice(slurm, tmp_path):
    job = slurm.submit(WRITES, "--array=0-1", folder=tmp_path)
    first, second = (tmp_path / f"{job}_{task}.txt" for task in range(2))
    wait_for(lambda: said(first, "start") and said(second, "start"))
    slurm.say("scontrol", "requeue", f"{job}_0")
    wait_for(lambda: said(first, "TERM"), seconds=5)
    wait_for(lambda: len(said(first, "start")) == 2, seconds=20)
    assert [count for _, _, count, _ in said(first, "start")] == ["0", "1"]
    assert len(said(second, "start")) == 1 and not said(second, "TERM")


def test_a_job_of_scavenge_makes_place_and_comes_back(slurm, tmp_path):
    low = slurm.submit(WRITES, "--partition=scavenge", "--nodes=3", "--exclusive", folder=tmp_path)
    wait_for(lambda: said(tmp_path / f"{low}.txt", "start"))
    high = slurm.submit("echo start", folder=tmp_path)
    wait_for(lambda: said(tmp_path / f"{low}.txt", "TERM"), seconds=15)
    wait_for(lambda: (tmp_path / f"{high}.txt").exists(), seconds=15)
    wait_for(lambda: len(said(tmp_path / f"{low}.txt", "start")) == 2, seconds=30)


def test_the_signal_comes_up_to_half_a_minute_early_and_not_late(slurm, tmp_path):
    job = slurm.submit(WRITES, "--time=0:20", "--signal=B:USR1@25", folder=tmp_path)
    text = tmp_path / f"{job}.txt"
    wait_for(lambda: said(text, "USR1"), seconds=60)
    assert slurm.jobs()[-1]["time_limit"] == 1, "seconds are rounded up to minutes"
    before_limit = 60 - (float(said(text, "USR1")[0][0]) - float(said(text, "start")[0][-1]))
    assert 24 <= before_limit <= 56


@pytest.mark.parametrize("told", [True, False])
def test_the_job_of_a_killed_node_runs_elsewhere_beside_its_orphan(slurm, tmp_path, told):
    """SLURM finds out by itself after half a minute; told that the node is down, it requeues at once."""
    job = slurm.submit(WRITES, "--cpus-per-task=2", folder=tmp_path)
    text, beat = tmp_path / f"{job}.txt", tmp_path / "beat"
    wait_for(lambda: said(text, "start"))
    node, orphan, _, _ = said(text, "start")[0]
    slurm.script("kill-node", node)
    if told:
        slurm.say("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    wait_for(lambda: len(said(text, "start")) == 2, seconds=20 if told else 75)
    other, pid, count, _ = said(text, "start")[1]
    assert other != node and count == "1" and not said(text, "TERM")
    length = len(beat.read_text().split())
    wait_for(lambda: {orphan, pid} <= set(beat.read_text().split()[length:]), seconds=5)
    slurm.script("start-node", node)
    wait_for(lambda: not alive(int(orphan)), seconds=10)
    assert alive(int(pid))


def test_stop_ends_orphans_and_detached_processes_and_no_other_cluster(slurm, tmp_path, monkeypatch):
    other = SlurmCluster(tmp_path / "other")
    other.script("start", "--no-install", "--nodes", "1")
    detached = "setsid bash -c 'while true; do echo $$ >> detached; sleep 0.2; done' &"
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("SLURM_CONF", str(other.folder / "slurm.conf"))
        job = other.submit(f"{detached}\nsrun sleep 1000 &\n{WRITES}", folder=tmp_path)
        step = "slurmstepd: [1.0]"
        wait_for(lambda: said(tmp_path / f"{job}.txt", "start") and step in other.script("status"))
    other.script("kill-node", "n1")
    pids, before = other.pids(), slurm.pids()
    assert int((tmp_path / "detached").read_text().split()[0]) in pids
    assert re.search(r"process \d+ srun sleep 1000", other.script("status")) and step in other.script("status")
    other.script("stop")
    assert not [pid for pid in pids if alive(pid)]
    assert other.pids() == set() and slurm.pids() == before


def test_repair_takes_drained_nodes_back_and_leaves_a_users_hold(slurm, tmp_path):
    job = slurm.submit("echo start $SLURMD_NODENAME", "--hold", folder=tmp_path)
    slurm.say("scontrol", "update", "NodeName=n2", "State=DRAIN", "Reason=batch job complete failure")
    wait_for(lambda: "drained" in slurm.say("sinfo", "-h", "-n", "n2", "-o", "%T"))
    assert slurm.script("repair") == ""
    wait_for(lambda: slurm.say("sinfo", "-h", "-n", "n2", "-p", "main", "-o", "%T") == "idle")
    assert slurm.say("squeue", "-h", "-o", "%i %r") == f"{job} JobHeldUser"  # a user's own hold stays
