"""Models from the hub, against a server on loopback that speaks enough of its protocol. The real client is used."""

from pathlib import Path

import pytest

import tiny
from hub_server import COMMIT, NOWHERE, Repositories, run_against, serving

pytestmark = pytest.mark.slow

LOAD = """
import json, sys
from tunelab.config.schema import ModelSource
from tunelab.models.load import load_model, load_text, locate
source = ModelSource(**json.loads(sys.argv[1])[0])
try:
    located = locate(source)
    model, text = load_model(source, located, seed=0), load_text(source, located)
    print(json.dumps({"revision": located.revision, "weights": sum(p.numel() for p in model.parameters())}))
except Exception as error:
    print(json.dumps({"error": str(error), "kind": type(error).__name__}))
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tiny.model_folder(tmp_path_factory.mktemp("served"))
    served = Repositories()
    served.files["models/owner/model"] = {file.name: file.read_bytes() for file in folder.iterdir()}
    served.refused["models/gated/model"] = (403, "GatedRepo")
    with serving(served) as endpoint:
        yield endpoint


def load(endpoint: str, home: Path, **source: object) -> dict:
    return run_against(endpoint, home, LOAD, source)


def test_a_model_is_downloaded_pinned_and_found_again_without_the_hub(hub, tmp_path):
    first = load(hub, tmp_path, name="owner/model")
    assert first["revision"] == COMMIT, first
    assert first["weights"] > 0
    offline = load(NOWHERE, tmp_path, name="owner/model", revision=COMMIT)
    assert offline == first


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"name": "gated/model"}, "model 'gated/model' is gated: accept its terms"),
        ({"name": "missing/model"}, "model 'missing/model': neither a folder here nor a model on the hub"),
        ({"name": "owner/model", "revision": "v9"}, "model 'owner/model' has no revision 'v9' on the hub"),
        ({"name": "not a name"}, "model 'not a name': neither a folder here nor a valid hub id"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_what_the_hub_refuses_is_one_line(hub, tmp_path, source, message):
    answer = load(hub, tmp_path, **source)
    assert answer["kind"] == "ModelError" and answer["error"].startswith(message)
    assert "\n" not in answer["error"]


def test_no_network_is_one_line_with_a_way_out(tmp_path):
    answer = load(NOWHERE, tmp_path, name="owner/model")
    assert answer["kind"] == "ModelError"
    assert "the hub cannot be reached" in answer["error"] and "tunelab/tiny" in answer["error"]


def test_pickled_weights_are_never_read(tmp_path):
    from tunelab.config.schema import ModelSource
    from tunelab.errors import ModelError
    from tunelab.models.load import locate

    folder = tiny.model_folder(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights"):
        locate(ModelSource(name=str(folder)))


def test_the_chat_template_is_part_of_a_local_models_revision(tmp_path):
    from tunelab.config.schema import ModelSource
    from tunelab.models.load import locate

    plain, chatting = (tiny.model_folder(tmp_path / name) for name in ("plain", "chatting"))
    same = locate(ModelSource(name=str(tiny.model_folder(tmp_path / "same"))))
    assert locate(ModelSource(name=str(plain))).revision == same.revision
    (chatting / "chat_template.jinja").write_text("{{ messages }}")
    assert locate(ModelSource(name=str(chatting))).revision != same.revision
