"""The live view: what runs and what failed first, the rest in a line, at any size of the terminal; also a real one."""

import io
import os
import shutil
import subprocess
import sys
import time

import pytest
from rich.console import Console

import tiny
from tunelab.launch.terminal.board import Seconds
from tunelab.launch.terminal.live import LiveView, shortened
from tunelab.stages import stage

LONG = "lora targets=attention rank={} alpha=32 init=pissa dropout=0.05 scaling=rslora"


def view(
    *, running=0, failed=0, finished=0, waiting=0, width=80, height=24, label="lora r={}", phase="train"
) -> tuple[LiveView, list[str]]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    made, states = LiveView(console), ["running"] * running + ["failed"] * failed
    for number, state in enumerate([*states, *["finished"] * finished, *["waiting"] * waiting]):
        run = tiny.run_config(task="restaurants", method={"name": "lora", "label": label.format(number)})
        run = run.model_copy(update={"id": f"run {number}"})
        made._board.event(run, {"event": "phase", "phase": phase})
        line = made._board.lines[run.id]
        if state == "running":
            for step in range(1, 6):
                event = {"step": step, "num_steps": 4000, "ema_loss": 1.234, "tokens_per_second": 123456.7}
                made.event(run, {"event": "step", "seconds": 0.5, **event})
        elif state == "failed":
            made._board.event(run, {"event": "failed", "error": "the loss is not finite at step 12: " + "why " * 30})
        else:
            line.state = state
            line.spent = Seconds(60.0, 20.0, 5.0) if state == "finished" else None
    return made, rendered(made)


def rendered(made: LiveView) -> list[str]:
    made._console.file = io.StringIO()
    made._console.print(made._render())
    return made._console.file.getvalue().splitlines()


@pytest.mark.parametrize("label", ["lora r={}", LONG], ids=["short", "long"])
@pytest.mark.parametrize(
    "runs",
    [
        {"running": 1, "finished": 3, "waiting": 4},
        {"running": 2, "failed": 1, "finished": 18, "waiting": 3},
        {"running": 4, "failed": 1, "finished": 10, "waiting": 25},
        {"running": 30, "failed": 10},
        {"running": 40},
        {"failed": 40},
        {"running": 4, "failed": 30, "finished": 3, "waiting": 3},
    ],
    ids=lambda runs: ", ".join(f"{number} {state}" for state, number in runs.items()),
)
def test_it_fits_80_columns_and_24_lines_and_what_runs_and_failed_stands_first(runs, label):
    _, lines = view(**runs, label=label)
    assert len(lines) < 24 and max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    whole = sum(runs.values())
    assert f"{runs.get('finished', 0)} of {whole} runs finished" in text
    for state in ("running", "failed", "waiting"):
        assert runs.get(state, 0) == 0 or f"{runs[state]} {state}" in text
    of_runs = [line for line in lines if "step 5/4000" in line]
    told = next((int(line.split()[1]) for line in lines if "more are running" in line), 0)
    assert len(of_runs) + told == runs.get("running", 0)
    failed = [line for line in lines if line.startswith("FAILED")]
    more = next((int(line.split()[1]) for line in lines if "`tunelab status` names them" in line), 0)
    assert len(failed) + more == runs.get("failed", 0)
    summary = next(number for number, line in enumerate(lines) if "runs finished" in line)
    assert all(number < summary for number, line in enumerate(lines) if line in (*of_runs, *failed))


@pytest.mark.parametrize(("width", "height"), [(40, 10), (60, 15), (120, 50), (200, 60)])
def test_it_fits_other_terminals_too(width, height):
    _, lines = view(running=6, failed=6, finished=6, waiting=6, width=width, height=height, label=LONG)
    assert len(lines) < height and max(map(len, lines)) <= width


def test_finished_runs_are_folded_and_failed_ones_say_why():
    _, lines = view(running=1, failed=1, finished=18, waiting=4)
    assert not [line for line in lines if line.startswith(("lora r=2,", "lora r=19,", "lora r=22,"))]
    assert "FAILED lora r=1, seed 0: the loss is not finite" in "\n".join(lines)


def test_the_time_used_and_left_of_the_study_stands_below():
    text = " ".join(" ".join(view(running=1, finished=3, waiting=4)[1]).split())
    assert "0:00 used; about" in text and "by the speed of 3 finished and 1 running run" in text


def test_the_last_picture_is_of_the_study_alone():
    made, _ = view(running=1, failed=2, finished=3)
    with made:
        pass
    assert rendered(made) == ["3 of 6 runs finished, 1 running, 2 failed. 0:00 used"]


def test_a_task_and_a_back_end_that_all_share_are_not_in_the_names():
    assert view(running=1)[1][0].startswith("lora r=0, seed 0 ")
    made, _ = view(running=1)
    other = tiny.run_config(task="headlines", method={"name": "lora", "label": "lora r=0"}).model_copy(
        update={"id": "other"}
    )
    made.event(other, {"event": "phase", "phase": "load"})
    assert any(line.startswith("lora r=0, restaurants, seed 0") for line in rendered(made))


def test_long_names_that_differ_are_never_shown_the_same():
    names = [f"{LONG.format(number)}, seed 0" for number in range(12)]
    for width in (12, 24, 40):
        short = shortened(names, width)
        assert len(set(short)) == 12 and max(map(len, short)) <= width


def test_what_a_run_prepares_is_shown_until_it_trains():
    made, _ = view(running=0)
    run = tiny.run_config(task="restaurants", method={"name": "lora", "label": "lora"})
    made.event(run, {"event": "phase", "phase": "prepare"})
    made.event(run, {"event": "stage", "text": "tokenising train of restaurants: 15,000 rows"})
    assert any("prepare: tokenising train of restaurants: 15,000 rows" in line for line in rendered(made))
    made.event(run, {"event": "phase", "phase": "train"})
    assert not any("tokenising" in line for line in rendered(made))


def test_a_run_whose_process_has_only_started_is_shown():
    made, _ = view(waiting=2)
    run = tiny.run_config(task="restaurants", method={"name": "full", "label": "full"})
    made.event(run, {"event": "starting"})
    assert rendered(made)[0].split()[:4] == ["full,", "seed", "0", "starting"]


def test_a_stage_of_the_study_itself_is_shown():
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    with LiveView(console, doing="planning small.yaml") as made:
        assert any("planning small.yaml" in line for line in rendered(made))
        with stage("counting parameters: lora (2 of 5)"):
            assert any("counting parameters: lora (2 of 5), 0 s" in line for line in rendered(made))
    assert rendered(made) == [] or "counting" not in rendered(made)[0]


def test_what_runs_note_of_their_data_is_printed_once():
    made, _ = view()
    made._console.file = out = io.StringIO()
    for number in (0, 1):
        run = tiny.run_config(task="restaurants", method={"name": "lora", "label": "lora"}, id=f"run {number}")
        made.event(run, {"event": "note", "text": "train: 3 of 500 rows were cut to 512 tokens"})
    assert out.getvalue() == "restaurants: train: 3 of 500 rows were cut to 512 tokens\n"


def test_a_failure_is_printed_whole_above_the_view():
    made, _ = view()
    made._console.file = out = io.StringIO()
    run = tiny.run_config(task="restaurants", method={"name": "lora", "label": "lora"})
    made.event(run, {"event": "failed", "error": "no memory, " * 20 + "at the end"})
    assert out.getvalue().startswith("FAILED lora, seed 0: no memory") and "at the end" in out.getvalue()


PROGRAM = """
import time
import tiny
from rich.console import Console
from tunelab.launch.terminal.live import LiveView
LONG = {long!r}
with LiveView(Console()) as view:
    for number in range(40):
        run = tiny.run_config(task="restaurants", method={{"name": "lora", "label": LONG.format(number)}})
        run = run.model_copy(update={{"id": str(number)}})
        view.event(run, {{"event": "phase", "phase": "train"}})
        if number < 5:
            event = {{"step": 7, "num_steps": 40, "ema_loss": 1.5, "tokens_per_second": 9.0, "seconds": 1.0}}
            view.event(run, {{"event": "step", **event}})
        else:
            view._board.lines[run.id].state = "failed" if number < 8 else "finished"
    open({ready!r}, "w").close()
    time.sleep(60)
"""


@pytest.mark.slow
def test_it_stands_still_in_a_real_terminal_of_80_by_24(tmp_path):
    tmux = shutil.which("tmux")
    if tmux is None:
        if os.environ.get("TUNELAB_REQUIRE_ALL"):
            pytest.fail("tmux is not here")
        pytest.skip("tmux is not here")
    ready = tmp_path / "ready"
    (tmp_path / "program.py").write_text(PROGRAM.format(long=LONG, ready=str(ready)))
    server = [tmux, "-S", str(tmp_path / "socket"), "-f", "/dev/null"]
    path = os.pathsep.join(filter(None, [str(tmp_path), *sys.path]))
    command = f"PYTHONPATH='{path}' exec '{sys.executable}' '{tmp_path / 'program.py'}'"
    subprocess.run([*server, "new-session", "-d", "-x", "80", "-y", "24", command], check=True)
    try:
        deadline = time.monotonic() + 90
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(1.5)  # several times drawn anew

        def screen() -> list[str]:
            got = subprocess.run(
                [*server, "capture-pane", "-p", "-S", "-200"], capture_output=True, text=True, check=True
            )
            return [line for line in got.stdout.splitlines() if line.strip()]

        first = screen()
        time.sleep(1.5)
        second = screen()
    finally:
        subprocess.run([*server, "kill-server"], check=False)
    assert len(first) == len(second) < 24, "nothing is left behind above it"
    assert sum("step 7/40" in line for line in second) == 5
    assert sum(line.startswith("FAILED") for line in second) == 3
    assert any("32 of 40 runs finished, 5 running, 3 failed" in line for line in second)


def test_nothing_is_left_of_planning_that_failed():
    console = Console(file=io.StringIO(), width=80, height=24, force_terminal=True, color_system=None)
    with pytest.raises(ValueError), LiveView(console, doing="planning study.yaml") as made:
        raise ValueError
    assert rendered(made) == []
