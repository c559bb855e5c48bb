"""`tunelab show RUN --examples`: which outputs, in which order, by which score; wrapped at a terminal's width."""

import io
import json

import pytest
from rich.console import Console

from report.study_folder import HOSTILE, write_study
from tunelab.errors import ConfigError, UnreadableRun
from tunelab.launch.printing import print_outputs
from tunelab.records import Prediction
from tunelab.study.store import RunFolder
from tunelab.study.verbs.outputs import show_outputs
from tunelab.study.verbs.shown import Asked


@pytest.fixture
def folder(tmp_path):
    """A finished run; its rouge_l is higher and its loss lower from example to example, the last one has none."""
    study = write_study(tmp_path, tasks=("restaurants",), methods=("base", "full"), seeds=(0,), spoil=False)
    return RunFolder(tmp_path / "runs" / study.runs[1].id)


def scored(folder, *scores, text="text", **changes):
    rows = [
        Prediction(
            id=f"row-{place}", prompt="a prompt", prediction=text, references=("a reference",),
            **{"statistics": {"rouge_l": (value, 1.0), "loss": (1 - value, 1.0)}} | changes,
        )
        for place, value in enumerate(scores)
    ]  # fmt: skip
    folder.write_predictions(rows)


def ids(shown):
    return [output.example.id for output in shown.examples]


def text_of(shown, *, width=None):
    target = io.StringIO()
    console = Console(file=target, width=width, force_terminal=width is not None, highlight=False, color_system=None)
    print_outputs(shown, console)
    return target.getvalue()


def test_first_worst_and_best(folder):
    scored(folder, 0.5, 0.1, 0.9, 0.1)
    assert ids(show_outputs(folder, num_examples=2)) == ["row-0", "row-1"]
    assert ids(show_outputs(folder, num_examples=9, worst=True)) == ["row-1", "row-3", "row-0", "row-2"]
    assert ids(show_outputs(folder, num_examples=2, worst=False)) == ["row-2", "row-0"]
    assert [output.score for output in show_outputs(folder, num_examples=2, worst=True).examples] == [0.1, 0.1]


def test_the_metric_that_decides_the_study_orders_and_lower_can_be_better(folder):
    scored(folder, 0.5, 0.1, 0.9)
    (folder.study_folder / "study.yaml").write_text("decision: {metric: loss}\n")
    shown = show_outputs(folder, num_examples=3, worst=True)
    assert shown.metric == "loss" and not shown.higher_is_better and ids(shown) == ["row-1", "row-0", "row-2"]
    assert "loss of each example alone" in shown.words
    (folder.study_folder / "study.yaml").write_text("decision: [")
    assert show_outputs(folder, num_examples=1).metric == "rouge_l"


def test_a_run_without_scores_has_outputs_in_order_and_no_worst(folder):
    scored(folder, 0.1, 0.2, statistics={})
    (folder.path / "result.json").unlink()
    shown = show_outputs(folder, num_examples=5)
    assert ids(shown) == ["row-0", "row-1"] and shown.metric == "" and "scores:" not in text_of(shown)
    with pytest.raises(ConfigError, match="no example has a score"):
        show_outputs(folder, num_examples=5, worst=True)


def test_a_metric_that_is_not_installed_here_gives_way_and_that_is_said(folder):
    scored(folder, 0.5, 0.1, loss_sum=2.0, num_tokens=4, statistics={"gone_metric": (0.5, 1.0)})
    result = json.loads((folder.path / "result.json").read_text())
    result["scores"] = {"gone_metric": result["scores"]["rouge_l"]}
    (folder.path / "result.json").write_text(json.dumps(result))
    assert (
        "loss of each example in nats a token; gone_metric has no score" in show_outputs(folder, num_examples=1).words
    )


def test_a_run_that_was_not_evaluated_is_one_line(folder):
    (folder.path / "predictions.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"no predictions\.jsonl, so the run was not evaluated"):
        show_outputs(folder, num_examples=1)


def test_a_broken_line_is_one_line(folder):
    (folder.path / "predictions.jsonl").write_text('{"id": 3}\n')
    with pytest.raises(UnreadableRun, match=r"predictions\.jsonl, line 1: damaged"):
        show_outputs(folder, num_examples=1)


def test_everything_of_an_example_is_printed_and_nothing_steers_the_terminal(folder):
    scored(folder, 0.25, text=f"one\x1b[2J\ntwo {HOSTILE}")
    text = text_of(show_outputs(folder, num_examples=1, worst=True))
    head, _, row, prompt, reference, *output = text.splitlines()
    assert head == (
        "full on restaurants, seed 0: 1 of 1 test examples, the worst first; "
        "scores: rouge_l of each example alone, higher is better"
    )
    assert row == "row-0  rouge_l 0.250"
    assert (prompt, reference) == ("  prompt    a prompt", "  reference a reference")
    assert output == ["  output    one [2J", f"            two {HOSTILE}"]


def test_texts_are_wrapped_at_the_width_of_a_terminal_and_nowhere_else(folder):
    long = " ".join(f"word{place}" for place in range(60)) + " " + "x" * 200 + " 日本語" * 30
    scored(folder, 0.5, text=long)
    shown = show_outputs(folder, num_examples=1)
    assert long in text_of(shown)
    lines = text_of(shown, width=50).splitlines()
    wide = [line for line in lines if line.startswith(" ")]
    assert len(wide) > 12 and all(Console().measure(line).maximum <= 50 for line in wide)
    assert "".join(line[12:] for line in wide).replace(" ", "").endswith(long.replace(" ", ""))


def test_empty_and_missing_texts_are_named(folder):
    scored(folder, 0.5, text="")
    assert "output    (empty)" in text_of(show_outputs(folder, num_examples=1))
    scored(folder, 0.5, text=None)
    assert "output    (no text was generated)" in text_of(show_outputs(folder, num_examples=1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"what": None}, "show what"),
        ({"what": "study.yaml", "rows": "x.csv"}, "show what"),
        ({"what": "study.yaml", "worst": True}, "--worst orders a run's outputs; study.yaml is no run's folder"),
        ({"what": None, "rows": "x.csv", "worst": False}, "--best orders a run's outputs"),
        ({"what": None, "rows": "x.csv", "examples": 3}, "--rows shows three rows"),
    ],
)
def test_what_does_not_go_together_is_said(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Asked(**arguments)


def test_of_a_run_options_choose_outputs_and_nothing_can_be_set(folder):
    path = str(folder.path)
    assert Asked(path).of_run and not Asked(path).of_outputs
    assert Asked(path, examples=0).of_outputs and Asked(path, worst=True).num_examples == 3
    with pytest.raises(ConfigError, match="there is nothing to set"):
        Asked(path, overrides=["seeds=[0]"])
