"""Rows of a data set on the Hugging Face hub. No code from the hub is ever executed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tunelab.data.reading.arrow_rows import ArrowRows, cache_folder
from tunelab.data.reading.lazy import Selected
from tunelab.data.reading.rows import Row
from tunelab.errors import DataError
from tunelab.files import write_atomically

Keep = Callable[[Row], bool]

DOWNLOAD_HINT = "download it to a file, and give its path instead"


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


def hub_split(where: HubSet, *, keep: Keep | None = None) -> Sequence[Row]:
    """The rows of a split for which `keep` holds, in order, memory-mapped.

    Raises:
        DataError: no network, no such data set, revision or split, gated, or only loadable by remote code.
    """
    import datasets

    revision = where.revision if offline() else hub_commit(where)
    with explained(where):
        loaded = datasets.load_dataset(where.dataset, where.config, split=where.split, revision=revision)
    if offline():
        _check_commit(where, loaded)
    rows = ArrowRows(loaded)
    return rows if keep is None else Selected(rows, [number for number, row in enumerate(rows) if keep(row)])


def _check_commit(where: HubSet, loaded: Any) -> None:
    """Offline, `datasets` takes the copy that was made last, whatever revision is asked for."""
    folders = {Path(file["filename"]).parent.name for file in loaded.cache_files}
    if folders and hub_commit(where) not in folders:
        raise DataError(
            f"{where.dataset}: the copy on this machine is of commit {min(folders)[:8]}, not {hub_commit(where)[:8]}; "
            "unset HF_HUB_OFFLINE to download it"
        )


def hub_commit(where: HubSet) -> str:
    """The commit behind a revision. One request with a time limit: load_dataset alone retries for half a minute
    before it says that there is no network, and a moving branch could change between the splits. With
    HF_HUB_OFFLINE=1 the commit that was found when the hub could last be asked.

    Raises:
        DataError: as `hub_split`.
    """
    from huggingface_hub import HfApi

    name = f"{where.dataset}@{where.revision or 'main'}".replace("/", "--")
    note = cache_folder() / "commits" / name
    if offline():
        if note.is_file():
            return note.read_text()
        if where.revision is not None and re.fullmatch("[0-9a-f]{40}", where.revision):
            return where.revision
        raise DataError(
            f"{where.dataset}: HF_HUB_OFFLINE is set, and this data set was not downloaded before; "
            f"{where.hint or DOWNLOAD_HINT}"
        )
    with explained(where):
        commit = HfApi().dataset_info(where.dataset, revision=where.revision, timeout=10).sha
    assert commit is not None, where.dataset  # the hub leaves it out in listings alone
    write_atomically(note, commit)
    return commit


def offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE")


@contextmanager
def explained(where: HubSet) -> Iterator[None]:
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
    if "RevisionNotFoundError" in kinds or "doesn't exist for dataset" in first_line:
        return f"{dataset}: has no such revision; see {page}/tree/main"
    if kinds & {"RepositoryNotFoundError", "DatasetNotFoundError"}:
        return f"{dataset}: no such data set on the hub, or it is private; check the name, or run `hf auth login`"
    if "HFValidationError" in kinds:
        return f"{dataset}: is not a hub id; it must be 'owner/name'"
    if "scripts are no longer supported" in first_line:
        return f"{dataset}: can only be loaded by remote code; set its revision to 'refs/convert/parquet'"
    if kinds & {"ConnectionError", "OfflineModeIsEnabled", "TransportError", "LocalEntryNotFoundError", "TimeoutError"}:
        way_out = offline_hint or DOWNLOAD_HINT
        return f"{dataset}: the hub cannot be reached; {way_out} (HF_HUB_OFFLINE=1 uses what was downloaded before)"
    return f"{dataset}: cannot be loaded from the hub: {first_line}"
