"""A GGUF file of exported weights, for llama.cpp and what is built on it: written by llama.cpp's own converter, with
the tokens that end the study's texts, and asked a few prompts by llama.cpp itself."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from tunelab.config.schema import Generation
from tunelab.data.tokens.encoded import edges
from tunelab.errors import ConfigError, RunError
from tunelab.export.check import CheckRows, Exact, Trained
from tunelab.export.llama_texts import llama_texts, package
from tunelab.export.merge import reopen
from tunelab.export.texts import NUM_NEW, SHOWN, has_fields
from tunelab.models.limits import limits_of, too_long

CONVERTER = "convert_hf_to_gguf"
"""llama.cpp's convert_hf_to_gguf.py as a module, from the package convert-hf-to-gguf."""
TYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
BEGUN = 8
"""Characters by which a text begins as the study's: rounding parts texts later, a broken file at once."""
SPARE = 64
"""Tokens of room beyond the longest prompt and its text, should llama.cpp make more tokens of a text."""
_ENDS = frozenset(
    "<|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <|endoftext|> </s> <|eom_id|> <eos> <EOT> "
    "<|EOT|> _<EOT> [EOT] [EOS] <|end_of_text|> <end_of_turn> <end_of_utterance> <|eos|> <|eot|>".split()
)
"""Tokens that end a text for llama.cpp by their name, whatever the file says (llama.cpp, src/llama-vocab.cpp)."""


class Converted(NamedTuple):
    name: str
    """Of the file, in the exported folder."""
    size_mib: float
    by_tokens: Same | None
    """Texts of llama.cpp, each prompt given by its tokens: what the weights are. None: it is not installed, or cannot
    be asked."""
    by_text: Same | None
    """The prompts given as text or messages, where these are known: its tokenizer and the chat template, too."""
    notes: tuple[str, ...]


class Same(NamedTuple):
    """Texts of llama.cpp beside the study's."""

    num: int
    equal: int
    begun: int
    """That begin alike."""
    first: tuple[str, str] | None
    """The first two that differ: ours and llama.cpp's."""


def check_converter(base: Path) -> None:
    """Before minutes go into merging: whether the converter is here and knows the architecture and the tokenizer.

    Raises:
        ConfigError: it does not.
    """
    if find_spec(CONVERTER) is None:
        raise ConfigError(
            "--gguf: llama.cpp's converter is not installed; pip install 'tunelab[gguf]', or export with --merge and "
            "convert the folder by a checkout of llama.cpp (docs/export.md)"
        )
    if not any(base.glob("*.safetensors")):
        return  # weights that were drawn: told when they are converted
    with tempfile.TemporaryDirectory() as empty:
        try:
            _convert(base, Path(empty) / "unwritten.gguf", "--dry-run", "--vocab-only")
        except RunError as error:
            raise ConfigError(f"--gguf: {error}; export without it") from None


def write_gguf(opened: Exact, saved: Trained, folder: Path, *, name: str, dtype: str, rows: CheckRows) -> Converted:
    """Convert the merged weights in `folder` and put the file beside them.

    Args:
        name: of the model, in the file and of it.

    Raises:
        RunError: the converter or llama.cpp refuses, or llama.cpp writes other texts from it altogether.
    """
    kind = TYPES[dtype]
    file = folder / f"{name}-{kind.upper()}.gguf"
    with _start_said(folder, opened.text.tokenizer):
        _convert(folder, file, "--outtype", kind, "--model-name", name)
    notes = _name_ends(folder, file)
    size = file.stat().st_size / 1024**2
    if package() is None:
        note = f"{file.name}: not asked anything, llama.cpp is not installed: pip install 'tunelab[gguf]'"
        return Converted(file.name, size, None, None, (*notes, note))
    if opened.text.encoder_decoder:
        note = f"{file.name}: not asked anything, llama.cpp's Python packages ask decoder-only models"
        return Converted(file.name, size, None, None, (*notes, note))
    by_tokens, by_text = _asked(opened, saved, folder, file, rows)
    if by_tokens.first and 2 * by_tokens.begun < by_tokens.num:
        raise RunError(
            f"{file.name}: llama.cpp begins {by_tokens.num - by_tokens.begun} of {by_tokens.num} texts otherwise, "
            f"{_in_place(by_tokens)}; export without --gguf"
        )
    if by_tokens.first:
        many = f"{by_tokens.num - by_tokens.equal} of {by_tokens.num}"
        notes += (f"llama.cpp, which rounds otherwise, goes on differently in {many} texts: {_in_place(by_tokens)}",)
    if by_text.equal < by_tokens.equal:
        notes += (
            f"WARNING: given prompts as text, llama.cpp writes {by_text.num - by_text.equal} of {by_text.num} texts "
            f"otherwise: its tokenizer or template makes other tokens of them ({_in_place(by_text)})",
        )
    return Converted(file.name, size, by_tokens, by_text, notes)


def texts_text(converted: Converted) -> str:
    """How its texts compare, as a clause."""
    tokens, text = converted.by_tokens, converted.by_text
    if tokens is None or text is None:
        return "llama.cpp was not asked for texts"
    asked = f", {text.equal} of {text.num} by the prompt's text" if text.num else ""
    return f"texts by llama.cpp: {tokens.equal} of {tokens.num} by the prompt's tokens{asked} equal the study's"


def _in_place(same: Same) -> str:
    assert same.first is not None
    ours, theirs = (repr(text[:SHOWN]) for text in same.first)
    return f"{theirs} in place of {ours}"


def _same(ours: list[str], theirs: list[str]) -> Same:
    pairs = list(zip(ours, theirs, strict=True))
    first = next((pair for pair in pairs if pair[0] != pair[1]), None)
    return Same(len(pairs), sum(a == b for a, b in pairs), sum(a[:BEGUN] == b[:BEGUN] for a, b in pairs), first)


def _convert(folder: Path, file: Path, *options: str) -> None:
    """
    Raises:
        RunError: with the converter's own reason.
    """
    command = [sys.executable, "-m", CONVERTER, str(folder), "--outfile", str(file), *options]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace")
    if done.returncode != 0:
        said = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise RunError(f"llama.cpp's converter refuses this model ({said[-1] if said else done.returncode})")


@contextmanager
def _start_said(folder: Path, tokenizer: Any) -> Iterator[None]:
    """While it is converted the folder says whether the tokenizer puts a start token in front of a text: where nothing
    is said, llama.cpp does it for sentence pieces."""
    config = folder / "tokenizer_config.json"
    before = config.read_text(encoding="utf-8")
    begins = tokenizer.bos_token_id is not None and tokenizer.bos_token_id in edges(tokenizer).start
    config.write_text(json.dumps(json.loads(before) | {"add_bos_token": begins}), encoding="utf-8")
    try:
        yield
    finally:
        config.write_text(before, encoding="utf-8")


def _name_ends(folder: Path, file: Path) -> tuple[str, ...]:
    """A file names one token that ends a text, and one that ends a turn: the second is the study's, where llama.cpp
    would not know it by its name."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ends = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    ends = ends if isinstance(ends, list) else [ends]
    unknown = [
        end for end in ends if end != tokenizer.eos_token_id and tokenizer.convert_ids_to_tokens(end) not in _ENDS
    ]
    if not unknown:
        return ()
    whole = file.with_suffix(".ends")
    options = ["--special-token-by-id", "eot", str(unknown[0])]
    command = [sys.executable, "-m", "gguf.scripts.gguf_new_metadata", *options, str(file), str(whole)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace")
    if done.returncode != 0:
        raise RunError(f"{file.name}: the token that ends a turn cannot be written ({done.stderr.strip()[-200:]})")
    whole.replace(file)
    rest = ", ".join(tokenizer.convert_ids_to_tokens(end) for end in unknown[1:])
    return (f"WARNING: {file.name} has no place for the tokens {rest}, which end texts too",) if rest else ()


def _asked(opened: Exact, saved: Trained, folder: Path, file: Path, rows: CheckRows) -> tuple[Same, Same]:
    """By each prompt's tokens; by its text or through the chat template, as a user would ask, where these are known."""
    again = reopen(folder, saved, opened)
    limits, new = limits_of(again.model), min(NUM_NEW, again.run.generation.max_new_tokens)
    fit = [
        one
        for one in rows.asked
        if len(one.ids) and not too_long(limits, longest_prompt=len(one.ids), max_new_tokens=new)
    ]
    settings, tokenizer = Generation(max_new_tokens=new), opened.text.tokenizer
    written = again.generate([one.ids for one in fit], settings, progress=lambda decoded: None)
    ours = [_plain(tokenizer.decode(ids, skip_special_tokens=True)) for ids in written]
    asked: list[dict[str, Any]] = [{"prompt": one.ids.tolist()} for one in fit]
    known = [place for place, one in enumerate(fit) if one.example is not None and not has_fields(one.example)]
    for place in known:
        example = fit[place].example
        assert example is not None
        turns = [{"role": turn.role, "content": turn.text} for turn in example.turns[:-1]]
        asked.append({"messages": turns} if turns else {"prompt": example.prompt})
    context = max((len(one.ids) for one in fit), default=0) + new + SPARE
    theirs = list(map(_plain, llama_texts(file, asked, max_tokens=new, context=context)))
    return _same(ours, theirs[: len(fit)]), _same([ours[place] for place in known], theirs[len(fit) :])


def _plain(text: str) -> str:
    """Without half a character at the end, which llama.cpp keeps back."""
    return text.strip().rstrip("\ufffd").strip()
