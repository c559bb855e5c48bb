"""What a terminal shows while texts are generated."""

import io

from rich.console import Console

import tiny
from tunelab.launch.view import LiveView, PlainView
from tunelab.study.store import Store

RUN = tiny.run_config(task="restaurants", method={"name": "lora", "label": "lora"})
TRAINED = {"event": "step", "step": 4, "num_steps": 4, "ema_loss": 1.0, "tokens_per_second": 5.0, "seconds": 0.1}


def generated(done: int) -> dict:
    return {"event": "generate", "done": done, "total": 50, "num_tokens": 90, "tokens_per_second": 1234.5}


def test_a_log_tells_texts_and_tokens_a_second_now_and_then_and_at_the_end():
    out = io.StringIO()
    view = PlainView(Console(file=out, width=200), every_seconds=1000.0)
    view._last = -1e9
    for done in (5, 6, 7, 50):
        view.event(RUN, generated(done))
    assert out.getvalue().splitlines() == [
        "test: generated 5/50 texts 1,234 tokens/s",
        "test: generated 50/50 texts 1,234 tokens/s",
    ]


def shown(*events: dict) -> str:
    console = Console(file=io.StringIO(), width=160)
    view = LiveView(console)
    for event in events:
        view.event(RUN, event)
    console.print(view._render())
    return console.file.getvalue()


def test_a_terminal_shows_the_share_of_texts_and_their_speed():
    before = shown(TRAINED, {"event": "phase", "phase": "evaluate"})
    while_generating = shown(TRAINED, {"event": "phase", "phase": "evaluate"}, generated(25))
    assert "5 tokens/s" in before
    assert "generate 25/50" in while_generating and "1,234 tokens/s" in while_generating
    assert while_generating.count("━") == 10 and before.count("━") == 20, "half of the texts is half of the bar"
    after = shown(TRAINED, generated(50), {"event": "phase", "phase": "save"})
    assert "5 tokens/s" in after and "1,234" not in after


def test_a_log_names_a_note_on_the_data_once_and_a_failure_with_its_reason():
    out = io.StringIO()
    view = PlainView(Console(file=out, width=200))
    other = RUN.model_copy(update={"id": "other"})
    for run in (RUN, other):
        view.event(run, {"event": "note", "text": "train: 3 of 500 rows were cut to 512 tokens"})
    view.event(other, {"event": "failed", "error": "no memory"})
    assert out.getvalue().splitlines() == [
        "restaurants: train: 3 of 500 rows were cut to 512 tokens",
        "other: FAILED: no memory",
    ]


def test_a_log_tells_now_and_then_how_the_study_stands(tmp_path, monkeypatch):
    out = io.StringIO()
    view = PlainView(Console(file=out, width=200))
    view.event(RUN, TRAINED)
    view.planned([], Store(tmp_path))
    assert "runs finished" not in out.getvalue()
    monkeypatch.setattr("tunelab.launch.view.STANDING_SECONDS", 0.0)
    view.planned([], Store(tmp_path))
    assert out.getvalue().splitlines()[-1].startswith("0 of 1 runs finished, 1 running. 0:00 used; time left")


def test_what_a_run_prepares_is_told_where_nothing_else_is():
    out = io.StringIO()
    view = PlainView(Console(file=out, width=200), every_seconds=1000.0)
    view._last = -1e9
    for rows in ("5,000", "10,000"):
        view.event(RUN, {"event": "stage", "text": f"tokenising train: {rows} rows"})
    assert out.getvalue() == "test: tokenising train: 5,000 rows\n"


def test_a_log_tells_how_long_loading_took():
    out = io.StringIO()
    PlainView(Console(file=out, width=200)).event(RUN, {"event": "loaded", "seconds": 3.14159})
    assert out.getvalue() == "test: loaded in 3.1 s\n"


def test_a_phase_is_named_where_nothing_was_said_for_a_while():
    out = io.StringIO()
    view = PlainView(Console(file=out, width=200))
    view.event(RUN, {"event": "phase", "phase": "validate"})
    assert out.getvalue() == ""
    view._last_line = -1e9
    view.event(RUN, {"event": "phase", "phase": "validate"})
    assert out.getvalue() == "test: validate\n"


def test_a_log_has_whole_lines(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    out = io.StringIO()
    text = "test: 8 rows with answers became 3 examples: rows with equal prompts are one"
    PlainView(Console(file=out)).event(RUN, {"event": "note", "text": text})
    assert out.getvalue() == f"restaurants: {text}\n"
