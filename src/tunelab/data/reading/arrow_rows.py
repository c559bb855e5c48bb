"""Rows in an Arrow file: memory-mapped, so that a million of them take no memory until they are read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunelab.data.reading.lazy import Lazy
from tunelab.data.reading.rows import Row

if TYPE_CHECKING:
    import pyarrow

BATCH_ROWS = 1000


class ArrowRows(Lazy[Row]):
    """The rows of a `datasets.Dataset`, or of a file that `write_rows` wrote."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.dataset)

    def _at(self, position: int) -> Row:
        return self.dataset[position]


def read_arrow(file: Path) -> ArrowRows:
    import datasets

    return ArrowRows(datasets.Dataset.from_file(str(file)))


def write_rows(file: Path, rows: Iterable[Row], schema: pyarrow.Schema | None = None) -> int:
    """Write and return the number of rows; no file is made where there are none. Without a schema the first thousand
    rows decide it."""
    import pyarrow

    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    left, count, writer = iter(rows), 0, None
    try:
        with pyarrow.OSFile(str(temporary), "wb") as sink:
            while batch := list(islice(left, BATCH_ROWS)):
                table = pyarrow.Table.from_pylist(batch, schema=schema)
                if writer is None:
                    schema = table.schema
                    writer = pyarrow.ipc.new_stream(sink, schema)
                writer.write_table(table)
                count += len(batch)
            if writer is not None:
                writer.close()
        if count:
            os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def cache_folder() -> Path:
    """Where rows are kept that were fetched or converted once: beside the data sets that `datasets` keeps."""
    import datasets.config

    return Path(datasets.config.HF_DATASETS_CACHE) / "tunelab"
