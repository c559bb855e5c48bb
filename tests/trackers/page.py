"""A tracker's own page, served on this machine's loopback and executed by a browser without a window."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from report.browser import find_chromium

SECONDS = 60.0


@contextmanager
def served(command: Sequence[str], *, environment: dict[str, str] | None = None, **output: int) -> Iterator[str]:
    """Its address, once it answers. '{port}' is filled in."""
    find_chromium()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    filled = [word.format(port=port) for word in command]
    variables = {**os.environ, **{key: value.format(port=port) for key, value in (environment or {}).items()}}
    server = subprocess.Popen(filled, env=variables, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, **output)
    address, deadline = f"http://127.0.0.1:{port}/", time.monotonic() + SECONDS
    try:
        while not _answers(address):
            assert server.poll() is None, server.stdout.read().decode()
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.1)
        yield address
    finally:
        server.kill()
        server.wait()


def _answers(address: str) -> bool:
    try:
        urlopen(address, timeout=5).close()
    except (URLError, OSError):
        return False
    return True


def page_text(address: str, profile: Path, *, wants: Sequence[str]) -> str:
    """The page as it is after its scripts have run; tried again until it has all that is wanted, for half a minute."""
    command = [
        find_chromium(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
        "--window-size=1400,3000", "--virtual-time-budget=10000", "--dump-dom", address,
    ]  # fmt: skip
    deadline = time.monotonic() + SECONDS
    while True:
        text = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS).stdout
        if all(each in text for each in wants) or time.monotonic() > deadline:
            return text
