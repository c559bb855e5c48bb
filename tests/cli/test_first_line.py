"""What verbs show first is there at once: before anything heavy is imported, and by the processor's own clock."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

CODE = """
import json, sys, time
from tunelab import cli

def shown(text, **options):
    print(json.dumps({"text": text, "seconds": time.process_time(), "modules": list(sys.modules)}), flush=True)
    sys.exit()

for module in (cli, sys.modules["tunelab.commands.plan"]):
    module.at_work = shown
cli.collect_seldom()
cli.app(sys.argv[1:], prog_name="tunelab")
"""
HEAVY = {"torch", "transformers", "numpy", "yaml", "matplotlib", "pyarrow", "pandas", "jinja2"}


@pytest.mark.parametrize(
    ("command", "says"),
    [(["run"], "planning quickstart"), (["plan", "quickstart"], "planning quickstart"), (["report", "."], "reading .")],
)
def test_a_verb_says_what_it_does_before_it_imports_anything_heavy(command, says):
    done = subprocess.run([sys.executable, "-c", CODE, *command], capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found["text"] == says
    assert sorted(HEAVY & {*found["modules"]}) == []
    assert sum(name.startswith("tunelab") for name in found["modules"]) < 40
    assert found["seconds"] < 0.5, "of the processor, of which a busy machine takes none away"
