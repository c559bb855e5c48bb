"""Rows of a data set on the Hugging Face hub. No code from the hub is ever executed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, NamedTuple

from tunelab.data.lazy import Lazy, Selected
from tunelab.data.rows import Row
from tunelab.errors import DataError

Keep = Callable[[Row], bool]

BLOCK_ROWS = 1000
"""A sample of a big set is read in blocks of so many neighbouring rows,"""
ROWS_A_BLOCK = 125
"""of which so many are drawn before another block is read."""
LARGEST_GROUP = 20 * BLOCK_ROWS
"""A file whose rows can only be read in larger groups is fetched whole."""


class HubSet(NamedTuple):
    """One split of a data set."""

    dataset: str
    """Hub id, as 'owner/name'."""
    config: str | None
    """Which configuration, where the data set has several."""
    split: str
    revision: str | None = None
    """Branch, tag or commit; 'refs/convert/parquet' is the hub's own copy without a loading script."""
    hint: str = ""
    """What else a user can do without the hub, for messages."""


class ArrowRows(Lazy[Row]):
    """Rows of a memory-mapped dataset: a million of them take no memory until they are read."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.dataset)

    def _at(self, position: int) -> Row:
        return self.dataset[position]


def hub_rows(
    dataset: str, *, split: str, revision: str | None = None, config: str | None = None, offline_hint: str = ""
) -> list[Row]:
    """All rows of a split, in order; see HubSet for the arguments and `hub_split` for what it raises."""
    return list(hub_split(HubSet(dataset, config, split, revision, offline_hint)))


def hub_split(where: HubSet, *, keep: Keep | None = None) -> Sequence[Row]:
    """The rows of a split for which `keep` holds, in order, memory-mapped.

    Raises:
        DataError: no network, no such data set, revision or split, gated, or only loadable by remote code.
    """
    import datasets

    revision = where.revision if _offline() else hub_commit(where)
    with _explained(where):
        loaded = datasets.load_dataset(where.dataset, where.config, split=where.split, revision=revision)
    rows = ArrowRows(loaded)
    return rows if keep is None else Selected(rows, [number for number, row in enumerate(rows) if keep(row)])


def hub_sample(where: HubSet, *, n: int, seed: int, keep: Keep | None = None) -> Sequence[Row]:
    """n rows of a big split, in order.

    The split is cut into blocks of 1,000 neighbouring rows, the blocks are put in an order by a hash of the seed and
    their number, and each gives up to 125 of its rows, chosen by a hash of the seed and the row's position; when all
    blocks have given, they give again. So every row is equally likely, neighbours come together (a cluster sample),
    the same n always gives the same rows, and they are among those of a larger n. `IterableDataset.shuffle` would not
    do: its order has changed between versions of `datasets`, and it draws from the first buffers of each file alone.

    Raises:
        DataError: as `hub_split`.
    """
    rows = hub_split(where)
    found = _Draw(len(rows), n=n, seed=seed)
    return Selected(rows, found.positions(lambda block: [i for i in block if keep is None or keep(rows[i])]))


class _Draw:
    """Positions in the order of `hub_sample`."""

    def __init__(self, num_rows: int, *, n: int, seed: int) -> None:
        self.n, self.seed = n, seed
        blocks = [range(start, min(start + BLOCK_ROWS, num_rows)) for start in range(0, num_rows, BLOCK_ROWS)]
        self.blocks = sorted(blocks, key=lambda block: self._hash("block", block.start))

    def positions(self, kept: Callable[[range], Sequence[int]]) -> list[int]:
        chosen: list[int] = []
        waiting: list[list[int]] = []
        for block in self.blocks:
            order = sorted(kept(block), key=lambda position: self._hash("row", position))
            chosen += order[:ROWS_A_BLOCK]
            if len(chosen) >= self.n:
                break
            waiting.append(order[ROWS_A_BLOCK:])
        while len(chosen) < self.n and any(waiting):
            chosen += [position for order in waiting for position in order[:ROWS_A_BLOCK]]
            waiting = [order[ROWS_A_BLOCK:] for order in waiting]
        return sorted(chosen[: self.n])

    def _hash(self, kind: str, number: int) -> bytes:
        return sha256(f"{self.seed}\n{kind}\n{number}".encode()).digest()


def hub_commit(where: HubSet) -> str:
    """The commit behind a revision. One request with a time limit: load_dataset alone retries for half a minute
    before it says that there is no network, and a moving branch could change between the splits.

    Raises:
        DataError: as `hub_split`.
    """
    from huggingface_hub import HfApi

    with _explained(where):
        return HfApi().dataset_info(where.dataset, revision=where.revision, timeout=10).sha


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE")


@contextmanager
def _explained(where: HubSet) -> Iterator[None]:
    from datasets.exceptions import DatasetsError

    try:
        yield
    except (*_hub_errors(), ValueError, RuntimeError, DatasetsError) as error:
        raise DataError(_explain(where.dataset, error, where.hint)) from error


def _hub_errors() -> tuple[type[Exception], ...]:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # The HTTP client under huggingface_hub has changed (requests, httpx, httpx2), and a failed connection is raised
    # as the client's own error: its base class is the one that HfHubHTTPError derives from.
    return (OSError, HFValidationError, HfHubHTTPError.__mro__[1])


def _explain(dataset: str, error: Exception, offline_hint: str) -> str:
    """One line: what happened, and the way out."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    page = f"https://huggingface.co/datasets/{dataset}"
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    if "GatedRepoError" in kinds:
        return f"{dataset}: is gated; accept its terms at {page}, then run `hf auth login`"
    if "RevisionNotFoundError" in kinds:
        return f"{dataset}: has no such revision; see {page}/tree/main"
    if kinds & {"RepositoryNotFoundError", "DatasetNotFoundError"}:
        return f"{dataset}: no such data set on the hub, or it is private; check the name, or run `hf auth login`"
    if "HFValidationError" in kinds:
        return f"{dataset}: is not a hub id; it must be 'owner/name'"
    if "scripts are no longer supported" in first_line:
        return f"{dataset}: can only be loaded by remote code; set its revision to 'refs/convert/parquet'"
    if kinds & {"ConnectionError", "OfflineModeIsEnabled", "TransportError", "LocalEntryNotFoundError", "TimeoutError"}:
        way_out = offline_hint or "download it to a file, and give its path instead"
        return f"{dataset}: the hub cannot be reached; {way_out} (HF_HUB_OFFLINE=1 uses what was downloaded before)"
    return f"{dataset}: cannot be loaded from the hub: {first_line}"
