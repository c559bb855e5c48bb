"""Runs `python -m MODULE ...` of tunelab under a Python that has tunelab not installed: the package is this one."""

import runpy
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def register() -> None:
    package = Path(__file__).resolve().parents[2]
    spec = spec_from_file_location("tunelab", package / "__init__.py", submodule_search_locations=[str(package)])
    assert spec is not None and spec.loader is not None
    module = sys.modules["tunelab"] = module_from_spec(spec)
    spec.loader.exec_module(module)


def main() -> None:
    register()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
