"""Rows of a data set on the Hugging Face hub. No code from the hub is ever executed."""

from __future__ import annotations

import os
from typing import Any

from tunelab.errors import DataError


def hub_rows(
    dataset: str, *, split: str, revision: str | None = None, config: str | None = None, offline_hint: str = ""
) -> list[dict[str, Any]]:
    """All rows of a split, in order.

    Args:
        dataset: hub id, as 'owner/name'.
        revision: branch, tag or commit; 'refs/convert/parquet' is the hub's own copy without a loading script.
        config: which configuration, where the data set has several.
        offline_hint: what else a user can do without the hub, appended to the message.

    Raises:
        DataError: no network, no such data set, revision or split, gated, or only loadable by remote code.
    """
    import datasets

    if os.environ.get("HF_HUB_OFFLINE", "0").upper() not in ("1", "ON", "YES", "TRUE"):
        revision = _commit(dataset, revision, offline_hint)
    try:
        loaded = datasets.load_dataset(dataset, config, split=split, revision=revision)
    except (*_hub_errors(), ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(_explain(dataset, error, offline_hint)) from error
    return [dict(row) for row in loaded]


def _commit(dataset: str, revision: str | None, offline_hint: str) -> str | None:
    """The commit behind a revision. One request with a time limit: load_dataset alone retries for half a minute
    before it says that there is no network, and a moving branch could change between the splits."""
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(dataset, revision=revision, timeout=10).sha
    except _hub_errors() as error:
        raise DataError(_explain(dataset, error, offline_hint)) from error


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
