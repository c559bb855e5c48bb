"""bitsandbytes is imported without PyTorch's compiler, and the environment is as before."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

CODE = """
import json, os, sys
{before}
imported = [name in sys.modules for name in ("bitsandbytes", "torch._inductor.compile_fx")]
print(json.dumps([os.environ.get("TORCHDYNAMO_DISABLE"), *imported]))
"""
OURS = "from tunelab.models.bitsandbytes_import import import_bitsandbytes; import_bitsandbytes()"
PEFTS = "from tunelab.models.peft_fields import options_of; options_of('IA3')"
NF4 = "from tunelab.models.quantise import require_nf4; require_nf4('meta')"
SWITCH = "import os; os.environ['TORCHDYNAMO_DISABLE'] = '0'; "


CASES = {"ours": (OURS, None), "PEFT's": (PEFTS, None), "nf4": (NF4, None), "set by the user": (SWITCH + OURS, "0")}


@pytest.mark.parametrize(("before", "switch"), CASES.values(), ids=CASES)
def test_its_import_brings_no_compiler_and_leaves_the_environment(before, switch):
    done = subprocess.run([sys.executable, "-c", CODE.format(before=before)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [switch, True, False]


def test_where_it_is_not_installed_nothing_happens():
    hidden = "import importlib.util; importlib.util.find_spec = lambda name: None; " + OURS
    done = subprocess.run([sys.executable, "-c", CODE.format(before=hidden)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [None, False, False]
