"""The time left comes from measured runs and steps, and is not guessed."""

import pytest

import tiny
from tunelab.entries import RunEntry
from tunelab.launch.terminal import board as board_module
from tunelab.launch.terminal.board import Board, Line, Seconds
from tunelab.launch.terminal.time_left import about, clock, estimate, standing_words, time_words


def line(board: Board, label: str, seed: int = 0, state: str = "waiting", spent: Seconds | None = None) -> Line:
    run = tiny.run_config(task="restaurants", method={"name": label.split()[0], "label": label})
    run = run.model_copy(update={"id": f"{label}-{seed}", "seed": seed})
    made = board.lines.setdefault(run.id, board_module.line_of(run))
    made.state, made.spent = state, spent
    return made


def trains(one: Line, *, step: int, of: int, seconds: float) -> Line:
    one.state, one.phase, one.step, one.num_steps = "running", "train", step, of
    one.step_seconds = [seconds] * step
    return one


def test_nothing_measured_is_no_number():
    board = Board()
    line(board, "lora")
    assert estimate(board) is None
    assert "time left: nothing measured yet" in time_words(board)
    line(board, "base", state="finished", spent=Seconds(0.0, 5.0, 2.0))
    assert estimate(board) is None, "the base trains nothing, so its time says nothing of a training"


def test_a_finished_run_of_the_same_method_is_taken_as_it_is():
    board = Board()
    line(board, "lora", state="finished", spent=Seconds(60.0, 30.0, 10.0))
    line(board, "full", state="finished", spent=Seconds(600.0, 30.0, 10.0))
    line(board, "lora", 1)
    found = estimate(board)
    assert (found.seconds, found.num_unmeasured, found.num_finished, found.num_running) == (100.0, 0, 2, 0)


def test_a_method_that_was_not_measured_takes_as_long_as_the_others_and_that_is_said():
    board = Board()
    line(board, "lora", state="finished", spent=Seconds(60.0, 30.0, 10.0))
    line(board, "full")
    found = estimate(board)
    assert (found.seconds, found.num_unmeasured) == (100.0, 1)
    assert "about 100 s left" not in time_words(board)
    assert "about 2 min left, by the speed of 1 finished run; 1 method not measured yet" in time_words(board)


def test_a_running_run_counts_by_its_own_steps():
    board = Board()
    trains(line(board, "lora"), step=10, of=110, seconds=2.0)
    found = estimate(board)
    assert (found.seconds, found.num_running, found.without_evaluation) == (200.0, 1, True)
    assert "evaluation is not measured yet" in time_words(board)
    line(board, "lora", 1)
    assert estimate(board).seconds == 200.0 + 220.0


def test_what_is_done_between_steps_counts_with_them(monkeypatch):
    """Twenty steps of a second each, and a validation of ten seconds after every tenth."""
    board, now = Board(), [0.0]
    monkeypatch.setattr(board_module.time, "monotonic", lambda: now[0])
    run = tiny.run_config(task="restaurants", method={"name": "lora", "label": "lora"})
    for step in range(1, 22):
        now[0] += 1.0 + 10.0 * (step % 10 == 0)
        event = {"step": step, "num_steps": 41, "ema_loss": 1.0, "tokens_per_second": 1.0, "seconds": 1.0}
        board.event(run, {"event": "step", **event})
    assert board.lines[run.id].train_seconds_left() == pytest.approx(20 * 2.0)


def test_a_checkpoint_in_between_does_not_end_a_training():
    board = Board()
    one = trains(line(board, "lora"), step=10, of=110, seconds=2.0)
    one.phase = "save"
    assert estimate(board).seconds == 200.0


def test_its_first_steps_say_nothing():
    board = Board()
    trains(line(board, "lora"), step=2, of=100, seconds=9.0)
    assert estimate(board) is None


def test_runs_at_the_same_time_share_the_clock_and_the_longest_bounds_it():
    board = Board()
    for seed in range(4):
        trains(line(board, "lora", seed), step=10, of=20, seconds=1.0)
    board.most_at_once = 4
    assert estimate(board).seconds == 10.0
    trains(line(board, "full"), step=10, of=1010, seconds=1.0)
    assert estimate(board).seconds == 1000.0


def test_runs_that_a_search_has_still_to_choose_are_among_those_left():
    board = Board()
    line(board, "lora", state="finished", spent=Seconds(60.0, 30.0, 10.0))
    board.open_ones = [RunEntry("", "lora", "restaurants", 1, "torch", None, "run", 3)]
    assert estimate(board).seconds == 100.0
    assert standing_words(board) == "1 of 2 runs finished, 1 waiting"


def test_what_generates_counts_by_its_own_texts(monkeypatch):
    board = Board()
    one = line(board, "base", state="running")
    one.phase, one.generated, one.generating_since = "evaluate", {"done": 25, "total": 100}, 100.0
    monkeypatch.setattr(board_module.time, "monotonic", lambda: 150.0)
    assert one.text_seconds_left() == 150.0
    assert estimate(board).seconds == 150.0


def test_what_had_finished_before_is_told_apart():
    board = Board()
    line(board, "lora", state="finished", spent=Seconds(3600.0, 50.0, 10.0)).was_finished = True
    assert "used (and 1:01:00 by runs that had finished before)" in time_words(board)
    assert "left" not in time_words(board), "nothing is"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (44, "40 s"), (89, "90 s"), (91, "2 min"), (3000, "50 min"), (5400, "1.5 h"), (90000, "25.0 h")],
)
def test_an_estimate_has_few_digits(seconds, words):
    assert about(seconds) == words


def test_a_clock():
    assert [clock(5), clock(723), clock(3723)] == ["0:05", "12:03", "1:02:03"]
