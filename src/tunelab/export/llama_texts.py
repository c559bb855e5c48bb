"""Texts that llama.cpp writes from a GGUF file: `python -m tunelab.export.llama_texts FILE`, a process of its own.

llama.cpp ends the process that it runs in when something is wrong, and prints as it likes: an export must see neither.
Read from standard input: {"asked": [...], "max_tokens": N, "context": N}, each entry {"prompt": token ids or a text} or
{"messages": [...]}. The last line of standard output is the list of texts as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tunelab.errors import RunError

PACKAGES = ("llama_cpp", "xllamacpp")
"""llama.cpp for Python, the first that is installed: llama-cpp-python, which compiles it, and ready-made wheels."""

Answer = Callable[[dict[str, Any]], dict[str, Any]]
"""A request in the form of the usual HTTP interfaces, with "prompt" or "messages", to a response."""


def package() -> str | None:
    """The one that is installed."""
    return next((name for name in PACKAGES if find_spec(name)), None)


def llama_texts(file: Path, asked: Sequence[dict[str, Any]], *, max_tokens: int, context: int) -> list[str]:
    """Greedily, as llama.cpp ends them; on the processor, with keys and values in fp32, so that little is rounded.

    Raises:
        RunError: llama.cpp cannot read the file, or fails.
    """
    request = json.dumps({"asked": list(asked), "max_tokens": max_tokens, "context": context})
    command = [sys.executable, "-m", "tunelab.export.llama_texts", str(file)]
    done = subprocess.run(command, input=request, capture_output=True, text=True, encoding="utf-8", errors="replace")
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        said = [line for line in done.stderr.strip().splitlines() if line.strip()]
        reason = said[-1] if said else f"exit status {done.returncode}"
        raise RunError(f"llama.cpp cannot read the GGUF file ({reason}); export without --gguf")
    return json.loads(lines[-1])


def _opened(file: str, context: int, folder: str) -> Answer:
    name = package()
    if name == "llama_cpp":
        import llama_cpp  # pyright: ignore[reportMissingImports]

        fp32 = llama_cpp.GGML_TYPE_F32
        model = llama_cpp.Llama(file, n_ctx=context, n_gpu_layers=0, type_k=fp32, type_v=fp32, verbose=False)
        return lambda given: (
            model.create_chat_completion(**given) if "messages" in given else model.create_completion(**given)
        )
    xllamacpp: Any = import_module("xllamacpp")
    settings = xllamacpp.CommonParams()
    settings.model.path = file
    settings.n_ctx, settings.n_parallel, settings.n_gpu_layers, settings.warmup = context, 1, 0, False
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    settings.hostnames = [f"{folder}/socket.sock"]  # it also listens: there, and on no port
    server = xllamacpp.Server(settings)
    return lambda given: (
        server.handle_chat_completions(given) if "messages" in given else server.handle_completions(given)
    )


def _text(response: dict[str, Any]) -> str:
    if "error" in response:
        raise ValueError(response["error"]["message"])
    choice = response["choices"][0]
    return choice["text"] if "text" in choice else choice["message"]["content"] or ""


def main() -> None:
    request = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        answer = _opened(sys.argv[1], request["context"], folder)
        greedy = {"max_tokens": request["max_tokens"], "temperature": 0.0, "top_k": 1}
        texts = [_text(answer({**one, **greedy})) for one in request["asked"]]
    print("\n" + json.dumps(texts), flush=True)


if __name__ == "__main__":
    main()
