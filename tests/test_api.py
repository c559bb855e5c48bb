"""The Python API: light to import, the same functions that the command line calls."""

import subprocess
import sys

import pytest

import tunelab


@pytest.mark.slow
def test_importing_tunelab_imports_nothing_heavy():
    code = "import sys, tunelab; assert not {'torch', 'transformers', 'numpy', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_everything_named_is_there_and_callable():
    assert set(tunelab.__all__) == {"plan", "run", "load_study", "report", "generate", "score"}
    assert all(callable(getattr(tunelab, name)) for name in tunelab.__all__)


def test_report_stays_a_function_beside_its_folder():
    import tunelab.report.tables

    assert callable(tunelab.report) and callable(tunelab.report.tables.plain)


def test_overrides_reach_the_study():
    assert tunelab.load_study("quickstart", overrides=["seeds=[7]"]).study.seeds == (7,)


def test_plan_counts_parameters():
    runs = tunelab.plan("gpt2-ten-corpora").runs
    assert [(run.method, run.trainable_parameters) for run in runs] == [("base", 0), ("lora", 811_008)]
