"""What is known of a named data set, and how a set without splits is divided.

A set without splits is divided by a hash of each row: 80 % train, 10 % validation, 10 % test, whatever the seed; equal
rows fall on one side.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import NamedTuple

from tunelab.data.reading.rows import Row
from tunelab.data.sets.hub import HubSet
from tunelab.data.sets.original_files import Reader, table
from tunelab.errors import DataError

SPLITS = ("train", "validation", "test")


class Source(NamedTuple):
    """One data set."""

    name: str
    about: str
    """One line: what it is, its licence."""
    page: str
    """Where the original files are."""
    columns: Mapping[str, str]
    """The hub's columns in their order -> text, number, list, object."""
    splits: Mapping[str, str]
    """Ours -> the hub's. A split that is not here has no rows."""
    files: Mapping[str, tuple[str, ...]]
    """Split -> names of its original file, the usual one first; may hold * and folders."""
    read: Reader = table
    """Reader of an original file."""
    hub: str | None = None
    """Hub id; None: no copy that is known to be complete."""
    config: str | None = None
    revision: str | None = None
    """A commit, or 'refs/convert/parquet' (the hub's own copy) where the main branch needs remote code; None: main.
    A branch is resolved to its commit when it is read."""
    big: bool = False
    """More than about 100 MB: a sample is read from blocks of rows spread over the set, without fetching the rest."""
    drawn: bool = False
    """The set has no test split; `splits` names the hub split that all of ours are drawn from."""

    def hub_set(self, split: str) -> HubSet:
        """Raises DataError where the hub has no copy."""
        if self.hub is None:
            raise DataError(f"{self.name}: has no complete copy on the hub; {self.way_out(split)}")
        return HubSet(self.hub, self.config, self.splits[split], self.revision, hint=self.way_out(split))

    def way_out(self, split: str) -> str:
        """What a user can do without the hub."""
        return f"get {self.files[split][0]} from {self.page} and set 'path' to its folder"


def split_of(row: Row) -> str:
    """The split of a row of a set without splits: 80 % train, 10 % validation, 10 % test."""
    text = json.dumps(row, sort_keys=True, default=str)
    position = int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:6], "big") / 2**48
    return "train" if position < 0.8 else "validation" if position < 0.9 else "test"
