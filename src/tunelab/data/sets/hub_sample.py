"""A sample of a big data set on the hub, without fetching the rest.

The split is cut into blocks of 1,000 neighbouring rows. The blocks are put in an order by a hash of the seed and their
place, and each gives up to 125 of its rows, chosen by a hash of the seed and the row's place; when all blocks have
given, they give again. So every row is equally likely, but neighbours come together: it is a cluster sample, and a mean
over it varies more than over as many rows drawn one by one. The same n always gives the same rows, and they are among
those of a larger n, whether the blocks alone were fetched or the whole set.

`IterableDataset.shuffle` of `datasets` would not do: its order has changed between versions (huggingface/datasets
pull request 8194), and it shuffles whole files, then rows inside a buffer, so that a small sample comes from a few
places of the set.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tunelab.data.reading.arrow_rows import cache_folder, read_arrow, write_rows
from tunelab.data.reading.lazy import Selected
from tunelab.data.reading.rows import Row
from tunelab.data.sets.hub import HubSet, Keep, explained, hub_commit, hub_split, offline

if TYPE_CHECKING:
    import pyarrow

BLOCK_ROWS = 1000
ROWS_A_BLOCK = 125
SMALLEST_SHARE = 16
"""More than a sixteenth of the rows would touch half of the blocks: the whole set is fetched, and kept."""
LARGEST_GROUP = 20 * BLOCK_ROWS
"""The whole set is fetched, too, where rows can only be read in larger groups."""


def hub_sample(where: HubSet, *, n: int, seed: int, keep: Keep | None = None, kept: str = "") -> Sequence[Row]:
    """n rows of a split for which `keep` holds, in order; all of them where there are no more.

    Args:
        kept: names what `keep` does; a fetched sample is found again by it on this machine, also offline.

    Raises:
        DataError: as `hub_split`.
    """
    key = [where.dataset, where.config, hub_commit(where), where.split, n, seed, kept, BLOCK_ROWS, ROWS_A_BLOCK]
    file = cache_folder() / "samples" / f"{sha256(json.dumps(key).encode()).hexdigest()[:16]}.arrow"
    if not file.is_file() and not offline():
        with explained(where):
            _fetch(where, file, n=n, seed=seed, keep=keep)
    if file.is_file():
        return read_arrow(file)
    rows = hub_split(where)
    return Selected(rows, _Draw(len(rows), seed=seed).positions(rows, n=n, keep=keep))


class _Draw:
    """The order in which rows are drawn."""

    def __init__(self, num_rows: int, *, seed: int) -> None:
        self.seed = seed
        blocks = [range(start, min(start + BLOCK_ROWS, num_rows)) for start in range(0, num_rows, BLOCK_ROWS)]
        self.blocks = sorted(blocks, key=lambda block: self._hash("block", block.start))

    def order(self, positions: Iterable[int]) -> list[int]:
        """Inside a block."""
        return sorted(positions, key=lambda position: self._hash("row", position))

    def positions(self, rows: Sequence[Row], *, n: int, keep: Keep | None) -> list[int]:
        """From all rows."""
        chosen: list[int] = []
        waiting: list[list[int]] = []
        for block in self.blocks:
            if len(chosen) >= n:
                break
            order = self.order(number for number in block if keep is None or keep(rows[number]))
            chosen += order[:ROWS_A_BLOCK]
            waiting.append(order[ROWS_A_BLOCK:])
        while len(chosen) < n and any(waiting):
            chosen += [number for order in waiting for number in order[:ROWS_A_BLOCK]]
            waiting = [order[ROWS_A_BLOCK:] for order in waiting]
        return sorted(chosen[:n])

    def _hash(self, kind: str, number: int) -> bytes:
        return sha256(f"{self.seed}\n{kind}\n{number}".encode()).digest()


class _Group(NamedTuple):
    """Rows that a parquet file gives together."""

    file: int
    number: int
    rows: range


class _Shards:
    """The parquet files of a split, read over the network a group at a time."""

    def __init__(self, urls: Sequence[str]) -> None:
        import pyarrow.parquet
        from huggingface_hub import HfFileSystem

        system = HfFileSystem()
        # Without a cache of its own: pyarrow asks for exactly the bytes of a group.
        self.files = [pyarrow.parquet.ParquetFile(system.open(url, cache_type="none"), pre_buffer=True) for url in urls]
        self.groups: list[_Group] = []
        self.num_rows = 0
        for file, opened in enumerate(self.files):
            for number in range(opened.num_row_groups):
                rows = opened.metadata.row_group(number).num_rows
                self.groups.append(_Group(file, number, range(self.num_rows, self.num_rows + rows)))
                self.num_rows += rows
        self.schema = self.files[0].schema_arrow
        self._table = lru_cache(maxsize=2)(self._read)

    def largest_group(self) -> int:
        return max((len(group.rows) for group in self.groups), default=0)

    def rows(self, block: range) -> list[Row]:
        found: list[Row] = []
        for group in self.groups:
            start, stop = max(block.start, group.rows.start), min(block.stop, group.rows.stop)
            if start < stop:
                found += self._table(group).slice(start - group.rows.start, stop - start).to_pylist()
        return found

    def _read(self, group: _Group) -> pyarrow.Table:
        return self.files[group.file].read_row_group(group.number)


def _fetch(where: HubSet, file: Path, *, n: int, seed: int, keep: Keep | None) -> None:
    """Draw from the blocks alone and write the sample; nothing is written where the whole set must be fetched."""
    urls = _urls(where)
    if not all(url.endswith(".parquet") for url in urls):
        return
    shards = _Shards(urls)
    if n > shards.num_rows // SMALLEST_SHARE or shards.largest_group() > LARGEST_GROUP:
        return
    draw = _Draw(shards.num_rows, seed=seed)
    picked: dict[int, Row] = {}
    for block in draw.blocks:
        if len(picked) >= n:
            break
        rows = {number: row for number, row in zip(block, shards.rows(block), strict=True) if not keep or keep(row)}
        picked.update((number, rows[number]) for number in draw.order(rows)[:ROWS_A_BLOCK])
    if len(picked) >= n:
        chosen = sorted(list(picked)[:n])
        write_rows(file, (picked[number] for number in chosen), shards.schema)


def _urls(where: HubSet) -> list[str]:
    import datasets

    builder = datasets.load_dataset_builder(where.dataset, where.config, revision=hub_commit(where))
    files = builder.config.data_files or {}
    if where.split not in files:
        raise ValueError(f"Unknown split {where.split!r}. Should be one of {list(files)}.")
    return list(files[where.split])
