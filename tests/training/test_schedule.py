import pytest
import torch
from transformers import get_scheduler

from tunelab.config.schema import Schedule
from tunelab.training.schedule import learning_rate, warmup_steps


def rates(kind: str, *, warmup: float, num_steps: int) -> list[float]:
    schedule = Schedule(kind=kind, warmup=warmup)
    return [learning_rate(step, peak=1.0, schedule=schedule, num_steps=num_steps) for step in range(1, num_steps + 1)]


def test_linear_rises_to_the_peak_and_falls_towards_zero():
    assert rates("linear", warmup=4, num_steps=8) == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25])


def test_constant_holds_the_peak():
    assert rates("constant", warmup=2, num_steps=5) == pytest.approx([0.5, 1, 1, 1, 1])


def test_cosine_is_half_way_down_in_the_middle():
    values = rates("cosine", warmup=0, num_steps=100)
    assert values[0] == pytest.approx(1.0)
    assert values[50] == pytest.approx(0.5)
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 0.03, 0.5, 3, 500])
def test_no_step_has_rate_zero_or_above_the_peak(kind, warmup):
    assert all(0 < rate <= 1 for rate in rates(kind, warmup=warmup, num_steps=7))


def test_warmup_below_one_is_a_share_and_never_longer_than_the_run():
    assert warmup_steps(Schedule(warmup=0.1), num_steps=50) == 5
    assert warmup_steps(Schedule(warmup=500), num_steps=50) == 50


NAMES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("warmup", [0, 1, 4])
def test_the_trainers_schedule_is_a_step_behind_in_the_warmup_and_the_same_after_it(kind, warmup):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_scheduler(NAMES[kind], optimizer, num_warmup_steps=warmup, num_training_steps=11)
    theirs = []
    for _ in range(11):
        theirs.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    ours = rates(kind, warmup=warmup, num_steps=11)
    assert ours[warmup:] == pytest.approx(theirs[warmup:])
    assert [0.0, *ours[:warmup]][:warmup] == pytest.approx(theirs[:warmup])
