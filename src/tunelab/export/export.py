"""Takes a finished run's model out of its study: an adapter, or plain weights, with tokenizer and model card.

Everything is written to a hidden folder beside the wanted one, read again and compared with the trained model, and
renamed at the end: a folder of the wanted name is a checked one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tunelab.errors import ConfigError
from tunelab.export.adapter import Copied, write_copy
from tunelab.export.card import card_text
from tunelab.export.check import Agreement, Trained, check_rows, open_exact
from tunelab.export.gguf import Converted, check_converter, texts_text, write_gguf
from tunelab.export.merge import Merged, write_merged
from tunelab.files import share_weights, write_atomically
from tunelab.study.executing.saved import Saved, find_saved
from tunelab.study.planning.plan import load_backend
from tunelab.study.planning.planned import BASE
from tunelab.study.store import RunFolder

MIB = 1024**2


class Exported(NamedTuple):
    run: str
    folder: Path
    kind: str
    """merged, weights, adapter, method (a format that only tunelab reads)."""
    written: Merged | Copied
    rows: str
    """'4 test rows', or '4 fixed rows' where the task's data is gone."""
    size_mib: float
    gguf: Converted | None = None


def export(run: Path, folder: Path, *, merge: bool = False, dtype: str | None = None, gguf: bool = False) -> Exported:
    """Write the result of a run to a new folder.

    Args:
        merge: plain weights that transformers loads by itself, instead of the method's own format.
        dtype: fp32, bf16 or fp16 for merged weights; left out: the type that most of the base's files have.
        gguf: merge, and write the merged weights as a GGUF file too (extra `gguf`).

    Raises:
        ConfigError: no finished run, the folder is not free, or no converter that knows the model.
        ModelError: the base is missing, or has changed since.
        RunError: what was written does not compute what was trained; nothing stays.
    """
    merge = merge or gguf
    if dtype is not None and not merge:
        raise ConfigError(f"--dtype {dtype}: what a run saved is copied as it is; give --merge too")
    _check_free(folder)
    saved = find_run(run)
    base = load_backend("torch").locate(saved.source)
    if gguf:
        check_converter(base.folder)
    opened = open_exact(Saved(*saved), saved.run)
    rows = check_rows(saved.run, opened.text, vocabulary=opened.session.model.config.get_text_config().vocab_size)
    with _appearing_whole(folder) as temporary:
        written: Merged | Copied
        if merge:
            written = write_merged(opened, saved, temporary, base=base, dtype=dtype, rows=rows)
        else:
            written = write_copy(opened, saved, temporary, base=base, rows=rows)
        if (trained_by := RunFolder(run).read_run().backend) != saved.run.backend:
            said = f"trained by {trained_by}; read, written and compared here by {saved.run.backend}"
            written = written._replace(notes=(*written.notes, said))
        converted = None
        if gguf:
            assert isinstance(written, Merged)
            converted = write_gguf(opened, saved, temporary, name=folder.name, dtype=written.dtype, rows=rows)
            written = written._replace(notes=(*written.notes, *converted.notes))
        kind = "merged" if isinstance(written, Merged) else written.kind
        card = card_text(RunFolder(run), saved, kind=kind, written=written, base=base)
        if converted is not None:
            card += f"\n## GGUF\n\n`{converted.name}` holds the same weights for llama.cpp: {texts_text(converted)}.\n"
        write_atomically(temporary / "README.md", card)
    size = sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / MIB
    count = f"{len(rows.batch.rows)} {rows.kind} rows"
    return Exported(saved.run.id, folder, kind, written, count, size, converted)


def find_run(path: Path) -> Trained:
    """A finished run with a saved model.

    Raises:
        ConfigError: anything else, with the way out.
    """
    folder = RunFolder(path)
    if not path.is_dir():
        raise ConfigError(f"{path}: no such folder; name a run's, as in results/NAME/runs/RUN")
    if not (path / "run.json").exists():
        if (path / "runs").is_dir():
            runs = sorted(each.name for each in (path / "runs").iterdir() if not each.name.startswith("base--"))
            shown = ", ".join(runs[:3]) + (", ..." if len(runs) > 3 else "") if runs else "there are none yet"
            raise ConfigError(f"{path}: is a study's results; name one of its runs, as {path}/runs/RUN ({shown})")
        raise ConfigError(f"{path}: no run.json in it; name a run's folder, as results/NAME/runs/RUN")
    again = "`tunelab run` its study again"
    if error := folder.failure():
        raise ConfigError(f"{path}: the run failed ({error.splitlines()[0]}); mend that, then {again}")
    if not folder.has_result:
        raise ConfigError(f"{path}: the run has not finished; {again} to go on where it stopped")
    if folder.read_run().method["name"] == BASE["name"]:
        raise ConfigError(f"{path}: is the untouched base, and nothing was trained; name a run of a method")
    found = find_saved(str(path))
    assert found.run and found.method and found.folder, "the finished run of a method has all three"
    if not found.method.one_model:
        parents = ", ".join(parent.id for parent in found.run.parents)
        raise ConfigError(f"{path}: is several models that answer together; export each of them: {parents}")
    return Trained(found.source, found.method, found.facts, found.folder, found.run)


def export_text(exported: Exported) -> str:
    """What a terminal shows."""
    agreement, written = exported.written.agreement, exported.written
    lines = [f"{exported.run}: {exported.kind}, {exported.size_mib:.1f} MiB, on {exported.rows}"]
    if isinstance(written, Merged):
        lines[0] = f"{exported.run}: merged, {written.dtype}, {exported.size_mib:.1f} MiB, on {exported.rows}"
    lines.append(f"  read again, largest difference of logits: {_agreement_text(agreement)}")
    if isinstance(written, Merged) and written.losses is not None:
        losses = written.losses
        lines.append(
            f"  loss on {losses.num_rows} rows: quantised base with adapter {losses.trained:.4f}, "
            f"merged {losses.written:.4f} nats per token (difference {losses.difference:+.4f})"
        )
    if isinstance(written, Copied) and written.peft is not None:
        lines.append(f"  read by PEFT, largest difference of logits: {_agreement_text(written.peft)}")
    if written.texts is not None:
        texts = written.texts
        given = ", given the folder's generation_config.json" if exported.kind == "adapter" else ""
        lines.append(f"  texts by transformers' generate{given}: {texts.equal} of {texts.num} equal the study's")
    if (converted := exported.gguf) is not None:
        lines.append(f"  {converted.name}, {converted.size_mib:.1f} MiB: {texts_text(converted)}")
    return "\n".join([*lines, *(f"  note: {note}" for note in written.notes), f"wrote {exported.folder}"])


def as_json(exported: Exported) -> dict[str, Any]:
    written = exported.written
    losses = written.losses if isinstance(written, Merged) else None
    peft = written.peft if isinstance(written, Copied) else None
    return {
        "run": exported.run,
        "folder": str(exported.folder),
        "kind": exported.kind,
        "dtype": written.dtype if isinstance(written, Merged) else None,
        "size_mib": exported.size_mib,
        "files": sorted(str(file.relative_to(exported.folder)) for file in exported.folder.rglob("*")),
        "checked_on": exported.rows,
        "agreement": written.agreement._asdict(),
        "peft": None if peft is None else peft._asdict(),
        "texts": None if written.texts is None else written.texts._asdict(),
        "losses": None if losses is None else {**losses._asdict(), "difference": losses.difference},
        "gguf": None if exported.gguf is None else _gguf_facts(exported.gguf),
        "notes": list(written.notes),
    }


def _gguf_facts(converted: Converted) -> dict[str, Any]:
    same = {key: value and value._asdict() for key in ("by_tokens", "by_text") for value in [getattr(converted, key)]}
    return {"name": converted.name, "size_mib": converted.size_mib, **same}


def _agreement_text(agreement: Agreement) -> str:
    text = f"{agreement.largest_logit_difference:.1e} ({agreement.share_of_largest_logit:.1e} of the largest"
    return text + (")" if agreement.limit is None else f", limit {agreement.limit:.0e})")


def _check_free(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "is not empty" if folder.is_dir() else "is a file"
        raise ConfigError(f"{folder}: {what}; choose a folder that is not there yet")
    if any((parent / "study.yaml").exists() and (parent / "runs").is_dir() for parent in folder.absolute().parents):
        raise ConfigError(f"{folder}: lies in a study's results, which hold records only; choose another place")


@contextmanager
def _appearing_whole(folder: Path) -> Iterator[Path]:
    """A hidden folder beside `folder` that gets its name when all went well, and is gone otherwise."""
    temporary = folder.absolute().with_name(f".{folder.absolute().name}.{os.getpid()}.tmp")
    try:
        try:
            temporary.mkdir(parents=True)
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be written ({error.strerror}); choose another place") from None
        yield temporary
        share_weights(temporary)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
