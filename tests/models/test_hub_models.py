"""Models from the hub, against a server on loopback that speaks enough of its protocol. The real client is used."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlparse

import pytest

import tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ERRORS = {"gated/model": (403, "GatedRepo"), "missing/model": (404, "RepoNotFound")}
LOAD = """
import json, sys
from tunelab.config.schema import ModelSource
from tunelab.models.load import load_model, load_text, locate
source = ModelSource(**json.loads(sys.argv[1]))
try:
    located = locate(source)
    model, text = load_model(source, located, seed=0), load_text(source, located)
    print(json.dumps({"revision": located.revision, "weights": sum(p.numel() for p in model.parameters())}))
except Exception as error:
    print(json.dumps({"error": str(error), "kind": type(error).__name__}))
"""


class Hub(BaseHTTPRequestHandler):
    folder: Path

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        parts = urlparse(self.path).path.strip("/").split("/")
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        if name in ERRORS:
            return self.refuse(*ERRORS[name])
        files = sorted(path.name for path in self.folder.iterdir())
        if parts[0] == "api":
            if len(parts) > 5 and parts[5] not in ("main", COMMIT):
                return self.refuse(404, "RevisionNotFound")
            if "tree" in parts:
                sizes = [(file, (self.folder / file).stat().st_size) for file in files]
                facts = [{"type": "file", "path": file, "size": size, "oid": file} for file, size in sizes]
            else:
                facts = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}
            return self.send(json.dumps(facts).encode(), body=body)
        return self.send((self.folder / parts[4]).read_bytes(), body=body, etag=f'"{parts[4]}"')

    def send(self, content: bytes, *, body: bool, etag: str = '"none"') -> None:
        self.send_response(200)
        for key, value in {"ETag": etag, "X-Repo-Commit": COMMIT, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tiny.model_folder(tmp_path_factory.mktemp("served"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Hub,), {"folder": folder}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def load(endpoint: str, home: Path, **source: object) -> dict:
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        environment.pop(name, None)
    command = [sys.executable, "-c", LOAD, json.dumps(source)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip(), done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_a_model_is_downloaded_pinned_and_found_again_without_the_hub(hub, tmp_path):
    first = load(hub, tmp_path, name="owner/model")
    assert first["revision"] == COMMIT, first
    assert first["weights"] > 0
    offline = load("http://127.0.0.1:9", tmp_path, name="owner/model", revision=COMMIT)
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
    answer = load("http://127.0.0.1:9", tmp_path, name="owner/model")
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
