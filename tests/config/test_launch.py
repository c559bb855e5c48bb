"""launch: what is wrong with it is said before anything is submitted."""

import pytest
from pydantic import ValidationError

from tunelab.config.launch import ELSEWHERE_OPTIONS, KNOWN_OPTIONS, OWN_OPTIONS, Launch, seconds_of, unplaced


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"slurm": {"options": {"reservatoin": "x"}}}, "no option called 'reservatoin'. Did you mean 'reservation'?"),
        ({"slurm": {"options": {"partition": "x"}}}, "'partition' has a field of its own: partition, beside options"),
        ({"slurm": {"options": {"mem": "x"}}}, "'mem' has a field of its own: memory"),
        ({"slurm": {"options": {"job-name": "x"}}}, "'job-name' is set by tunelab itself"),
        ({"slurm": {"options": {"clusters": "x"}}}, "'clusters' sends jobs to another cluster"),
        ({"slurm": {"options": {"comment": "a\nb"}}}, "one line of printable characters"),
        ({"slurm": {"time": "soon"}}, "must be minutes, or HOURS:MINUTES:SECONDS"),
        ({"slurm": {"time": "2:00"}}, "time 2:00 is 120 s, and a run is told to stop 120 to 150 s before its end"),
        ({"slurm": {"lines": ["a\nb"]}}, "one line of printable characters"),
        ({"shard": True}, "shard: true cuts the weights over several devices"),
        ({"devices": 2, "cluster": "in-process"}, "in-process is one process"),
    ],
)
def test_what_is_wrong_is_said(section, words):
    with pytest.raises(ValidationError) as refused:
        Launch.model_validate(section)
    assert words in str(refused.value)


def test_an_option_is_given_in_one_way():
    assert not KNOWN_OPTIONS & OWN_OPTIONS and not KNOWN_OPTIONS & ELSEWHERE_OPTIONS


def test_time_limits_are_read_as_slurm_reads_them():
    times = {10: 600, "10": 600, "1:30": 90, "1:00:00": 3600, "1-0": 86400, "1-2:30": 95400, "2-00:00:05": 172805}
    assert {time: seconds_of(time) for time in times} == times


def test_what_cannot_be_placed_is_named():
    assert unplaced(Launch(nodes=2)) == [("launch.nodes", "2 nodes need cluster: slurm; here it is local")]
    few = Launch(cluster="slurm", devices=4, slurm={"gres": "gpu:a100:2"})
    assert [key for key, _ in unplaced(few)] == ["launch.devices"]
    assert unplaced(Launch(cluster="slurm", nodes=2, devices=2, slurm={"gres": "gpu:a100:2"})) == []
    assert (
        Launch(slurm={"gres": "gpu:1"}).slurm.asks_for_gpus
        and Launch(slurm={"options": {"gpus": 1}}).slurm.asks_for_gpus
    )
    assert not Launch(slurm={"gres": "license:1"}).slurm.asks_for_gpus
