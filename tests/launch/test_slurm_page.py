"""docs/slurm.md: its script is the one that its study makes, and every key of `launch.slurm` stands in its table."""

import re
from pathlib import Path

from tunelab.config.launch import Slurm
from tunelab.config.read import read_study
from tunelab.launch.waves import scripts_text
from tunelab.ownership import BEAT_SECONDS, STALE_SECONDS
from tunelab.study.executing.attempt import MOST
from tunelab.study.planning.plan import make_plan

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "slurm.md").read_text()


def block(language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[1]


def test_the_script_on_the_page_is_what_a_dry_run_prints():
    text = scripts_text(make_plan(read_study(text=block("yaml"))), out=Path("/home/ada/results/legs"), cluster=None)
    files = re.split(r"^# (?=/)", text, flags=re.MULTILINE)[1:]
    scripts = ["# " + each.strip() + "\n" for each in files if each.partition("\n")[0].endswith(".sh")]
    assert len(scripts) == 2
    assert block("bash") == "\n".join(scripts)


def test_every_key_is_in_the_table_and_every_number_is_that_of_the_code():
    table = PAGE[PAGE.index("## What each key") : PAGE.index("## By hand")]
    named = {
        name for row in re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert named == set(Slurm.model_fields)
    assert f"every {BEAT_SECONDS:.0f} s" in PAGE and f"after {STALE_SECONDS:.0f} s of silence" in PAGE
    assert f"after {MOST} attempts in a row" in PAGE
