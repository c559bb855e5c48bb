"""A run's result in the format its method saves it in, copied, read again without the run, compared."""

from __future__ import annotations

import importlib.util
import shutil
import warnings
from pathlib import Path
from typing import NamedTuple

from tunelab.errors import ConfigError, RunError
from tunelab.export.check import LIMITS, Agreement, CheckRows, Exact, Trained, compare, open_exact, plain_session
from tunelab.export.merge import reopen
from tunelab.export.texts import Texts, compare_texts
from tunelab.kernels.peft_format import read_config
from tunelab.models.generation_file import authors_notes, write_beside
from tunelab.records import Located
from tunelab.study.executing.saved import Saved, find_saved, write_origin


class Copied(NamedTuple):
    kind: str
    """weights: a model by itself; adapter: in PEFT's format; method: what only tunelab reads."""
    agreement: Agreement
    peft: Agreement | None
    """What peft.PeftModel makes of it on the base as its files are; None: not PEFT's format, or PEFT is not here."""
    texts: Texts | None
    """None: only tunelab reads it, or the run's base is held in other numbers than plain readers hold it in."""
    notes: tuple[str, ...]


def write_copy(opened: Exact, saved: Trained, folder: Path, *, base: Located, rows: CheckRows) -> Copied:
    """Copy what the run saved; `folder` is there and empty.

    Raises:
        RunError: what is read again does not compute what was trained.
        ConfigError: it cannot be used without the run.
    """
    shutil.copytree(saved.folder, folder, dirs_exist_ok=True)
    config = write_beside(opened.session.model, opened.text.tokenizer, folder, saved.run.generation)
    trained = opened.session.logits(rows.batch)
    kind = kind_of(folder, saved)
    texts = None
    if kind == "weights":
        again = reopen(folder, saved, opened)
        texts = compare_texts(again, again.model, folder, asked=rows.asked, text=opened.text)
    else:
        if saved.source.initialize == "random":
            raise ConfigError("the base was drawn at random for this run, and is nowhere else: export with --merge")
        write_origin(folder, Saved(*saved))
        again = open_exact(find_saved(str(folder)), saved.run).session
    agreement = compare(
        again.logits(rows.batch),
        trained,
        limit=LIMITS["fp32"],
        what="read again",
        way_out=f"this is a defect of how {saved.facts['name']} saves; export with --merge",
    )
    del again
    peft, notes = None, authors_notes(opened.session.model, config)
    if kind == "adapter":
        peft, texts, said = _with_peft(opened, saved, folder, base=base, rows=rows)
        notes += said
    return Copied(kind, agreement, peft, texts, notes + (texts.notes if texts else ()))


def kind_of(folder: Path, saved: Trained) -> str:
    if (folder / "config.json").exists() and saved.method.base_storage == "float":
        return "weights"
    return "adapter" if "peft_type" in read_config(folder) else "method"


class ReadByPeft(NamedTuple):
    agreement: Agreement | None
    texts: Texts | None
    notes: tuple[str, ...]


def _with_peft(opened: Exact, saved: Trained, folder: Path, *, base: Located, rows: CheckRows) -> ReadByPeft:
    notes = []
    named = read_config(folder)["base_model_name_or_path"]
    if Path(named).is_absolute():
        notes.append("adapter_config.json names the base by its path on this machine; change it before you share it")
    if importlib.util.find_spec("peft") is None:
        return ReadByPeft(None, None, (*notes, "peft is not installed: that PEFT reads the adapter was not checked"))
    from tunelab.models.bitsandbytes_import import import_bitsandbytes

    import_bitsandbytes()
    from peft import PeftModel

    from tunelab.backends.torch.storage import set_storage
    from tunelab.models.added_tokens import add_rows
    from tunelab.models.also import has_more
    from tunelab.models.load import load_model

    model = load_model(saved.source, base, seed=saved.run.seed)
    if saved.source.tokens:
        add_rows(model, opened.text.tokenizer, saved.source)
        more = len(saved.source.tokens)
        notes.append(f"PEFT reads the adapter on a base with {more} more rows of tokens; the card has the line")
    if has_more(read_config(folder)):
        notes.append(
            "embeddings, norms and the like are rounded where the base is not loaded in fp32, as the card does"
        )
    set_storage(model, precision="fp32")  # before PEFT copies what was trained beside adapters
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers by names that are going out
        try:
            model = PeftModel.from_pretrained(model, str(folder)).to(opened.session.model.device)
        except ValueError as error:
            reason = str(error).strip().splitlines()[0]
            raise RunError(f"PEFT does not read this adapter ({reason}); export with --merge") from None
    set_storage(model.requires_grad_(False), precision="fp32")
    quantised = saved.method.base_storage != "float"
    agreement = compare(
        plain_session(model, saved.run, opened.text).logits(rows.batch),
        opened.session.logits(rows.batch),
        limit=None if quantised else LIMITS["fp32"],
        what="read by PEFT",
        way_out=f"this is a defect of how {saved.facts['name']} saves; export with --merge",
    )
    if quantised:
        held = saved.method.base_storage
        notes.append(f"PEFT was asked on the base as its files are, and the run was trained on it held in {held}")
        return ReadByPeft(agreement, None, tuple(notes))
    texts = compare_texts(opened.session, model, folder, asked=rows.asked, text=opened.text)
    notes.append("PEFT does not read generation_config.json by itself: hand it to generate, as the card shows")
    return ReadByPeft(agreement, texts, tuple(notes))
