"""The studies that ship with the package, by name: the YAML files of `studies/`."""

from __future__ import annotations

from pathlib import Path

from tunelab.errors import ConfigError
from tunelab.near import did_you_mean

FOLDER = Path(__file__).parents[2] / "studies"


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def describe() -> dict[str, str]:
    """Name -> the first comment line of its file."""
    return {name: _first_comment(FOLDER / f"{name}.yaml") for name in names()}


def study_path(study: str | Path) -> Path:
    """The file that `study` means: a path, else the name of a bundled study.

    Raises:
        ConfigError: neither.
    """
    path, name = Path(study).expanduser(), str(study)
    if path.is_file() or (name not in names() and (path.suffix in (".yaml", ".yml") or path.exists())):
        return path  # what is wrong with a path is the reader's to say
    if name not in names():
        raise ConfigError(
            f"{name}: neither a study file nor a bundled study.{did_you_mean(name, names())} "
            f"Bundled: {', '.join(names())}. `tunelab init` writes a study of your own."
        )
    return FOLDER / f"{name}.yaml"


def _first_comment(path: Path) -> str:
    line = path.read_text(encoding="utf-8").partition("\n")[0]
    return line.removeprefix("#").strip() if line.startswith("#") else "(no comment)"
