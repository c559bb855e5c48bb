"""Hub errors become one line with a way out. No network: the client is replaced."""

from importlib import import_module

import huggingface_hub
import pytest
from huggingface_hub import errors

from tunelab.data.sets.hub import HubSet, hub_split
from tunelab.errors import DataError

# The HTTP client of the installed huggingface_hub: httpx, or its successor under another name.
httpx = import_module(errors.HfHubHTTPError.__mro__[1].__module__.partition(".")[0])
REQUEST = httpx.Request("GET", "https://huggingface.co/api/datasets/a/b")


def http_error(kind):
    return kind("404 Client Error\nRequest ID: x", response=httpx.Response(404, request=REQUEST))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A function that makes dataset_info raise, and load_dataset give two rows or raise."""
    import datasets

    calls = []
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)

    def answer(info=None, load=None):
        def dataset_info(self, dataset, *, revision, timeout):
            if info is not None:
                raise info
            return huggingface_hub.hf_api.DatasetInfo(id=dataset, sha="c0ffee")

        def load_dataset(dataset, config, *, split, revision):
            calls.append((dataset, config, split, revision))
            if load is not None:
                raise load
            return datasets.Dataset.from_list([{"a": "1"}, {"a": "2"}])

        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        return calls

    return answer


def test_rows_are_read_at_the_commit_behind_the_revision(hub):
    calls = hub()
    assert hub_split(HubSet("a/b", None, "train", "main")) == [{"a": "1"}, {"a": "2"}]
    assert calls == [("a/b", None, "train", "c0ffee")]


def test_offline_uses_what_was_downloaded(hub, monkeypatch):
    calls = hub(info=AssertionError("asked the hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert len(hub_split(HubSet("a/b", None, "test", "v1"))) == 2
    assert calls == [("a/b", None, "test", "v1")]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (httpx.ConnectError("Name or service not known"), "a/b: the hub cannot be reached; download it to a file"),
        (httpx.ConnectTimeout("timed out"), "a/b: the hub cannot be reached; "),
        (http_error(errors.RepositoryNotFoundError), "a/b: no such data set on the hub, or it is private; "),
        (http_error(errors.GatedRepoError), "a/b: is gated; accept its terms at https://huggingface.co/datasets/a/b, "),
        (http_error(errors.RevisionNotFoundError), "a/b: has no such revision; see "),
        (errors.HFValidationError("Repo id must"), "a/b: is not a hub id; it must be 'owner/name'"),
        (http_error(errors.HfHubHTTPError), "a/b: cannot be loaded from the hub: 404 Client Error"),
    ],
)
def test_hub_errors_are_one_line(hub, error, message):
    hub(info=error)
    with pytest.raises(DataError) as raised:
        hub_split(HubSet("a/b", None, "train"))
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            RuntimeError("Dataset scripts are no longer supported, but found b.py"),
            "can only be loaded by remote code; set",
        ),
        (ConnectionError("Couldn't reach 'a/b' on the Hub"), "the hub cannot be reached; buy a disk (HF_HUB_OFFLINE=1"),
        (
            ValueError("Unknown split \"x\". Should be one of ['train']."),
            'cannot be loaded from the hub: Unknown split "x".',
        ),
    ],
)
def test_loading_errors_are_one_line(hub, error, message):
    hub(load=error)
    with pytest.raises(DataError) as raised:
        hub_split(HubSet("a/b", None, "x", hint="buy a disk"))
    assert str(raised.value).startswith(f"a/b: {message}")
