"""Token rows of a split in one Arrow file: a row is a view into it, made when asked for, so that memory stays flat.

A record batch holds BATCH rows. Of a row it has the ids; the positions at which `supervised` changes, which is shorter
than the mask; the source and the document starts where there are any; and the id of its (first) example.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from tunelab.data.reading.lazy import Lazy
from tunelab.records import TokenRow

BATCH = 4096
RELEASE = 64
"""Rows after which the pages that were looked at are given back to the system: they are in its file cache, and would
count as this process's memory. A row in an arbitrary place brings about half a MiB of them."""
_LISTS = ("ids", "changes", "source", "starts")
_SCHEMA = pa.schema(
    [
        *((name, pa.list_(pa.int32())) for name in _LISTS),
        ("has_source", pa.bool_()),
        ("example", pa.int64()),
        ("id", pa.string()),
        ("num_supervised", pa.int32()),
    ]
)


class NamedRow(NamedTuple):
    row: TokenRow
    id: str
    """Of its example; of the first one in a packed row."""


class Sizes(NamedTuple):
    """Of every row, without making the rows."""

    ids: np.ndarray
    source: np.ndarray
    num_supervised: np.ndarray
    example: np.ndarray
    learns_end: np.ndarray
    """bool: the last token is supervised."""
    is_packed: np.ndarray
    """bool"""

    @property
    def num_tokens(self) -> np.ndarray:
        return self.ids + self.source


def write_rows(rows: Iterable[NamedRow], path: Path | None) -> TokenRows:
    """The rows as they come, a record batch in memory at a time; `path` None keeps them in memory, as compactly.

    Raises:
        OSError: the file cannot be written.
    """
    stream = iter(rows)
    with pa.BufferOutputStream() if path is None else pa.OSFile(str(path), "wb") as sink:
        with pa.ipc.new_file(sink, _SCHEMA) as writer:
            while chunk := list(islice(stream, BATCH)):
                writer.write_batch(_record_batch(chunk))
        if path is None:
            return TokenRows(sink.getvalue())
    return TokenRows.open(path)


def sizes(rows: Sequence[TokenRow]) -> Sizes:
    """Of any rows: those of a store do not have to be made for it."""
    if isinstance(rows, TokenRows):
        return rows.sizes
    return Sizes(
        np.array([len(row.ids) for row in rows], np.int64),
        np.array([0 if row.source is None else len(row.source) for row in rows], np.int64),
        np.array([row.num_supervised for row in rows], np.int64),
        np.array([row.example for row in rows], np.int64),
        np.array([row.supervised[-1] for row in rows], bool),
        np.array([bool(row.starts) for row in rows], bool),
    )


_NO_SIZES = Sizes(*(np.empty(0, kind) for kind in (np.int32, np.int32, np.int32, np.int64, bool, bool)))


class TokenRows(Lazy[TokenRow]):
    def __init__(self, buffer: pa.Buffer, mapped: mmap.mmap | None = None) -> None:
        self._mapped, self._asked = mapped, 0
        reader = pa.ipc.open_file(pa.BufferReader(buffer))
        self._batches, parts = [], []
        for number in range(reader.num_record_batches):
            columns = _columns(reader.get_batch(number))
            self._batches.append(columns)
            parts.append(_sizes(columns))
            self._release()
        self.sizes = Sizes(*(np.concatenate([none, *arrays]) for none, *arrays in zip(_NO_SIZES, *parts, strict=True)))

    @classmethod
    def open(cls, path: Path) -> TokenRows:
        """Raises OSError or pyarrow.ArrowException when this is no such file."""
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return cls(pa.py_buffer(mapped), mapped)

    def __len__(self) -> int:
        return len(self.sizes.ids)

    def _at(self, position: int) -> TokenRow:
        self._asked += 1
        if self._asked % RELEASE == 0:
            self._release()
        number, place = divmod(position, BATCH)
        columns = self._batches[number]
        ids = columns["ids"].at(place)
        return TokenRow(
            int(columns["example"][place]),
            ids,
            _supervised(columns["changes"].at(place), len(ids)),
            columns["source"].at(place) if columns["has_source"][place] else None,
            tuple(columns["starts"].at(place).tolist()),
        )

    def id_of(self, row: TokenRow) -> str:
        """The id of the row's example. Rows stand in the order of their examples."""
        number, place = divmod(int(np.searchsorted(self.sizes.example, row.example)), BATCH)
        return self._batches[number]["id"][place].as_py()

    def _release(self) -> None:
        if self._mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)


class _Lists(NamedTuple):
    """Arrays of different lengths, one after the other."""

    offsets: np.ndarray
    values: np.ndarray

    def at(self, place: int) -> np.ndarray:
        return self.values[self.offsets[place] : self.offsets[place + 1]]


def _columns(batch: pa.RecordBatch) -> dict[str, Any]:
    lists = {name: batch.column(name) for name in _LISTS}
    return {
        **{name: _Lists(column.offsets.to_numpy(), column.values.to_numpy()) for name, column in lists.items()},
        "has_source": batch.column("has_source").to_numpy(zero_copy_only=False),
        "example": batch.column("example").to_numpy(),
        "num_supervised": batch.column("num_supervised").to_numpy(),
        "id": batch.column("id"),
    }


def _sizes(columns: dict[str, Any]) -> Sizes:
    return Sizes(
        np.diff(columns["ids"].offsets),
        np.diff(columns["source"].offsets),
        columns["num_supervised"].copy(),
        columns["example"].copy(),
        np.diff(columns["changes"].offsets) % 2 == 1,
        np.diff(columns["starts"].offsets) > 0,
    )


def _record_batch(chunk: list[NamedRow]) -> pa.RecordBatch:
    rows = [named.row for named in chunk]
    none = np.empty(0, np.int32)
    ids = _joined([row.ids for row in rows])
    masks = np.concatenate([row.supervised for row in rows])
    arrays = [
        _list_array(ids),
        _list_array(_changes(masks, ids.offsets)),
        _list_array(_joined([none if row.source is None else row.source for row in rows])),
        _list_array(_joined([np.array(row.starts, np.int32) if row.starts else none for row in rows])),
        pa.array([row.source is not None for row in rows]),
        pa.array([row.example for row in rows], pa.int64()),
        # A lone surrogate has no UTF-8, and an id is only shown.
        pa.array([named.id.encode(errors="replace").decode() for named in chunk]),
        pa.array(np.diff(np.concatenate([[0], np.cumsum(masks)])[ids.offsets]).astype(np.int32)),
    ]
    return pa.record_batch(arrays, schema=_SCHEMA)


def _joined(lists: list[np.ndarray]) -> _Lists:
    return _Lists(np.concatenate([[0], np.cumsum(list(map(len, lists)))]), np.concatenate(lists))


def _changes(masks: np.ndarray, offsets: np.ndarray) -> _Lists:
    """Where each row's mask differs from what is before it; before a row stands False. Rows are not empty."""
    before = np.concatenate([[False], masks[:-1]])
    before[offsets[:-1]] = False
    places = np.flatnonzero(masks != before)
    ends = np.searchsorted(places, offsets)
    return _Lists(ends, places - np.repeat(offsets[:-1], np.diff(ends)))


def _list_array(lists: _Lists) -> pa.ListArray:
    return pa.ListArray.from_arrays(*(pa.array(array.astype(np.int32)) for array in lists))


def _supervised(changes: np.ndarray, length: int) -> np.ndarray:
    mask = np.zeros(length, dtype=bool)
    for begin in range(0, len(changes), 2):
        end = changes[begin + 1] if begin + 1 < len(changes) else length
        mask[changes[begin] : end] = True
    return mask
