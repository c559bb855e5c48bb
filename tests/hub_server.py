"""A server on loopback that speaks as much of the hub's protocol as huggingface_hub and datasets need to read."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlparse

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REVISIONS = ("main", "refs/convert/parquet", COMMIT)
NOWHERE = "http://127.0.0.1:9"
"""An endpoint where nothing listens."""


class Request(NamedTuple):
    method: str
    path: str
    range: str | None
    sent: int
    """Bytes of the answer's body."""


class Repositories:
    """What is served, and what was asked. Ids are 'models/owner/name' and 'datasets/owner/name'."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.refused: dict[str, tuple[int, str]] = {}
        """Id -> status and the hub's error code."""
        self.dropped: dict[str, int] = {}
        """File name -> after so many bytes the connection is closed, once."""
        self.requests: list[Request] = []

    def asked(self, name: str) -> list[Request]:
        """Downloads of a file."""
        return [request for request in self.requests if request.method == "GET" and request.path.endswith(f"/{name}")]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Repositories

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer(body=self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _answer(self, body: bytes = b"") -> None:
        parts = [unquote(part) for part in urlparse(self.path).path.strip("/").split("/")]
        api = parts[0] == "api"
        parts = parts[1:] if api else parts
        if parts[0] not in ("models", "datasets"):
            parts = ["models", *parts]
        name, rest = "/".join(parts[:3]), parts[3:]
        if name in self.hub.refused:
            return self._refuse(*self.hub.refused[name])
        if name not in self.hub.files:
            return self._refuse(404, "RepoNotFound")
        files = self.hub.files[name]
        if len(rest) > 1 and rest[1] not in REVISIONS:
            return self._refuse(404, "RevisionNotFound")
        if not api:
            return self._send_file(files, "/".join(rest[2:]))
        if rest and rest[0] == "tree":
            facts = self._tree(files, "/".join(rest[2:]))
        elif rest and rest[0] == "paths-info":
            facts = self._paths(files, body)
        else:
            facts = {"id": "/".join(parts[1:3]), "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}
        return self._refuse(404, "EntryNotFound") if facts is None else self._send(json.dumps(facts).encode())

    def _tree(self, files: dict[str, bytes], folder: str) -> list[dict] | None:
        recursive = parse_qs(urlparse(self.path).query).get("recursive", ["false"])[0].lower() in ("true", "1")
        inside = [file for file in files if not folder or file.startswith(f"{folder}/")]
        facts = {}
        for file in inside:
            tail = file[len(folder) + 1 :] if folder else file
            steps = tail.split("/")
            for depth in range(1, len(steps) if recursive else min(2, len(steps))):
                path = "/".join([*([folder] if folder else []), *steps[:depth]])
                facts[path] = _folder(path)
            if recursive or len(steps) == 1:
                facts[file] = _file(file, files[file])
        return list(facts.values()) if inside else None

    def _paths(self, files: dict[str, bytes], body: bytes) -> list[dict]:
        asked = json.loads(body) if body.startswith(b"{") else parse_qs(body.decode())
        facts = []
        for path in asked["paths"]:
            if path in files:
                facts.append(_file(path, files[path]))
            elif any(file.startswith(f"{path}/") for file in files):
                facts.append(_folder(path))
        return facts

    def _send_file(self, files: dict[str, bytes], path: str) -> None:
        if path not in files:
            return self._refuse(404, "EntryNotFound")
        content, wanted = files[path], self.headers.get("Range")
        headers = {"ETag": f'"{_digest(content)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if not wanted:
            return self._send(content, headers)
        start, _, end = wanted.removeprefix("bytes=").partition("-")
        first = int(start) if start else len(content) - int(end)
        last = min(int(end), len(content) - 1) if start and end else len(content) - 1
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return self._send(content[first : last + 1], headers, status=206)

    def _send(self, content: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        sent = 0
        if self.command != "HEAD":
            limit = self.hub.dropped.pop(self.path.split("/")[-1], None)
            sent = len(content) if limit is None else limit
            self.wfile.write(content[:sent])
            if limit is not None:
                self.wfile.flush()
                self.close_connection = True
        self.hub.requests.append(Request(self.command, urlparse(self.path).path, self.headers.get("Range"), sent))

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.hub.requests.append(Request(self.command, urlparse(self.path).path, None, 0))

    def log_message(self, *arguments: object) -> None: ...


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _file(path: str, content: bytes) -> dict:
    return {"type": "file", "path": path, "size": len(content), "oid": _digest(content)}


def _folder(path: str) -> dict:
    return {"type": "directory", "path": path, "size": 0, "oid": _digest(path.encode())}


@contextmanager
def serving(hub: Repositories):
    """The endpoint's address while the server runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def run_against(endpoint: str, home: Path, program: str, *arguments: object, **environment: str) -> dict:
    """The JSON object that the program prints last, in a process of its own: the client reads its endpoint when it is
    imported."""
    values = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        values.pop(name, None)
    command = [sys.executable, "-c", program, json.dumps(arguments)]
    done = subprocess.run(command, env={**values, **environment}, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip(), done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])
