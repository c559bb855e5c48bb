"""What `tunelab show` was asked for: a study, a run, its outputs, or rows of a file; and what does not go together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tunelab.errors import ConfigError


class Asked:
    """The verb's arguments, checked.

    Raises:
        ConfigError: nothing to show, or an option that would be ignored.
    """

    def __init__(
        self, what: str | None, *, rows: str | None = None, examples: int | None = None, worst: bool | None = None,
        overrides: Sequence[str] = (),
    ) -> None:  # fmt: skip
        if (what is None) == (rows is None):
            raise ConfigError("show what? Give a study, a run's folder, or --rows FILE|SOURCE")
        self.name = what or rows or ""
        self.of_rows = rows is not None
        self.of_run = what is not None and (Path(what) / "run.json").exists()
        self.examples = examples
        self.worst = worst
        """True: the worst outputs first; False: the best; None: in the order of the test set."""
        self.overrides = overrides
        if worst is not None and not self.of_run:
            raise ConfigError(
                f"--{'worst' if worst else 'best'} orders a run's outputs; {self.name} is no run's folder"
            )
        if examples is not None and self.of_rows:
            raise ConfigError("--examples is of a study or a run; --rows shows three rows")
        if overrides and self.of_run:
            raise ConfigError(f"--set {overrides[0]}: a run is shown as it was executed; there is nothing to set")

    @property
    def of_outputs(self) -> bool:
        """Of a run: its outputs, instead of its settings."""
        return self.of_run and (self.examples is not None or self.worst is not None)

    @property
    def num_examples(self) -> int:
        return 3 if self.examples is None else self.examples
