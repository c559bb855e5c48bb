"""Methods on the CPU and on another device, through `tunelab run`'s own path; what speaks against them.

There a run is stopped after its second step and executed again; it writes texts and saves its model, which is read
again, generates by beam search and by drawing, and is exported both ways. As a process of its own:

    python -m pretend_gpu.examined KIND PRECISION FOLDER NAME ...

examines them on the pretended device and writes FOLDER/complaints.json: name -> what is wrong, empty where nothing is.
scripts/gpu_parts.py does the same on a GPU.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

import tiny
from tunelab import catalogue, device
from tunelab.backends.torch import faster
from tunelab.backends.torch.session import TorchSession
from tunelab.config.read import read_study
from tunelab.config.schema import Generation
from tunelab.export.export import export
from tunelab.launch.run import settle
from tunelab.launch.worker import STOPPED, work
from tunelab.study.executing.saved import find_saved, open_saved
from tunelab.study.planning.plan import make_plan
from tunelab.study.planning.runs import study_runs
from tunelab.study.store import RunFolder, Store

STEPS, STOP_AFTER = 3, 2
RATE = {"learning_rate": 1e-2}
VARIANTS: dict[str, dict[str, Any]] = {
    "full, 8-bit moments": {"full": {"optimizer": "adamw8bit"}},
    "full, Adafactor": {"full": {"optimizer": "adafactor"}},
    "galore, a basis that turns": {"galore": {"rank": 4, "update_gap": 2, "moments": "rotate"}},
    "q_galore, a basis that turns": {"q_galore": {"rank": 4, "update_gap": 2, "projector": "subspace"}},
    "lora, dropout": {"lora": {"dropout": 0.2}},
    "rosa over nf4": {"rosa": {"base": "nf4", "density": 0.05}},
    "qlora, paged": {"qlora": {"rank": 4, "optimizer": "paged_adamw8bit"}},
    "adalora": {"peft_any": {"type": "ADALORA", "init_r": 4, "target_r": 2, "tinit": 0, "tfinal": 0}},
}
"""Beside every trained file of methods/ by its own example."""
MADE_OF_RUNS = {"merge": {"merge": {"of": ["full", "lora"]}}, "ensemble": {"ensemble": {"of": ["full", "lora"]}}}
SIZES: dict[str, dict[str, int]] = {
    "llama": {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1},
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_heads": 2},
}
LARGEST = {"fp32": 1e-5, "bf16": 3e-2, "fp16": 1e-2}
"""Difference of two losses, as a share: what rounding may make of three steps."""
COPIES = 6
"""To the host in a step: what transformers asks of each of up to four micro-batches, the gradient's norm, the loss."""
MORE_COPIES = {
    "apollo": 80, "galore, a basis": 90, "q_galore, a basis": 90, "layerwise": 12, "full, Adafactor": 120,
    "adalora": 44,
}  # fmt: skip
"""Of methods that ask every matrix something; torch's Adafactor asks every parameter, PEFT's AdaLoRA every rank."""
NUMBERS = (".step", "/own.counts", "/own.cosines", "step_and_lengths", "num_moves", ".rank_pattern")
"""State that Python holds: it is no tensor of the device."""
DECODINGS = (
    Generation(max_new_tokens=3, beams=2),
    Generation(max_new_tokens=3, temperature=0.7, top_p=0.9),
)
DECODED = ("full", "qlora", "rosa over nf4")
"""Methods whose saved model is asked for texts in these ways too."""


class Place(NamedTuple):
    """A device that is not the CPU."""

    device: torch.device
    holds: Callable[[torch.Tensor], bool]
    """Whether a tensor lies there."""
    copies: Callable[[], int]
    """To the host, so far; always 0 where nobody counts."""
    largest: Mapping[str, float] = LARGEST
    exact: bool = True
    """Whether its kernels are the CPU's, so that texts of random models are the same."""


def pretended() -> Place:
    """Changes torch for the whole process."""
    from pretend_gpu import pretend

    return Place(pretend.DEVICE, pretend.on_device, pretend.to_host.total)


def every_entry() -> dict[str, dict[str, Any]]:
    """Name -> as a study writes it."""
    classes = {name: catalogue.load("methods", name) for name in catalogue.names("methods")}
    trained = {name: {name: cls.example()} for name, cls in classes.items() if cls.trains}
    return trained | VARIANTS | MADE_OF_RUNS


class Seen(NamedTuple):
    """Of one run on one device."""

    errors: tuple[str, ...] = ()
    losses: tuple[float, ...] = ()
    """Of each step and each pass over the validation rows."""
    texts: tuple[Any, ...] = ()
    left: tuple[str, ...] = ()
    """Tensors of the model and of its state that are not on the device."""
    most_copies: int = 0
    """To the host, of a step."""


def examine(
    folder: Path, kind: str, precision: str, names: Sequence[str], *, there: Place, told: Callable[[str], None] = print
) -> dict[str, list[str]]:
    """Complaints by name; methods that others are made of come first."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    entries = every_entry()
    plain, varied = [name for name in names if name not in VARIANTS], [name for name in names if name in VARIANTS]
    complaints: dict[str, list[str]] = {}
    for number, group in enumerate((plain, varied)):
        if group:
            study = write_study(folder / str(number), kind, [entries[name] for name in group], precision=precision)
            here, away = (runs_of(study, study.parent / place) for place in ("cpu", "away"))
            for name, one, other in zip(group, here, away, strict=True):
                on_cpu = seen(*one, name=name, there=None)
                away_from_it = seen(*other, name=name, there=there)
                complaints[name] = list(complained(name, precision, on_cpu, away_from_it, there))
                told(f"{kind} {precision} {name}: {complaints[name] or 'as on the CPU'}")
    return complaints


def complained(name: str, precision: str, cpu: Seen, away: Seen, there: Place) -> Iterator[str]:
    yield from (f"on the CPU: {error}" for error in cpu.errors)
    yield from away.errors
    if away.errors or cpu.errors:
        return
    differences = [abs(one / other - 1) for one, other in zip(cpu.losses, away.losses, strict=True)]
    more = 10 if name.startswith("q_galore") else 1  # its weights are whole numbers: rounding decides which
    if not max(differences, default=0.0) <= more * there.largest[precision]:
        yield f"losses differ by {max(differences):.1e}: {cpu.losses} and {away.losses}"
    if there.exact and precision == "fp32" and cpu.texts != away.texts:
        yield f"texts differ: {cpu.texts} and {away.texts}"
    if away.left:
        yield f"{len(away.left)} tensors are not on the device: {', '.join(away.left[:3])}"
    allowed = next((number for key, number in MORE_COPIES.items() if name.startswith(key)), COPIES)
    if away.most_copies > allowed:
        yield f"{away.most_copies} copies to the host in a step, {allowed} are known"


def write_study(folder: Path, kind: str, methods: list[dict[str, Any]], *, precision: str) -> Path:
    tiny.model_folder(folder / kind, kind, **SIZES[kind])
    for name, count in (("train", 8), ("validation", 3), ("test", 3)):
        rows = [{"q": f"{name} {number}", "a": "it is so" * (1 + number % 3)} for number in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {name: f"{name}.jsonl" for name in ("train", "validation", "test")}
    texts = {"prompt": "{q}", "target": "{a}", "metrics": ["loss", "rouge_l"]}
    study = {
        "name": "pretended",
        "model": kind,
        "tasks": [{"name": "rows", **files, **texts}],
        "methods": [{name: RATE | options for name, options in method.items()} for method in methods],
        "seeds": [0],
        "budget": {"steps": STEPS},
        "batch": {"examples": 4, "max_tokens": 64},
        "generation": {"max_new_tokens": 3},
        "checkpoint": {"seconds": 0},
        "precision": precision,
        "threads": 1,
    }
    if any("merge" in method or "ensemble" in method for method in methods):
        for method in study["methods"]:
            for name in method.keys() & MADE_OF_RUNS.keys():
                del method[name]["learning_rate"]
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(study))
    return file


def runs_of(study: Path, out: Path) -> list[tuple[Any, RunFolder]]:
    """Of the methods, in the study's order."""
    store = Store(out)
    plan, revisions = settle(make_plan(read_study(study)), store)
    runs = [each.run for each in study_runs(plan, revisions, store, settled=lambda run_id: False)]
    return [(run, store.run(run.id)) for run in runs if run.method["name"] != "base"]


@contextmanager
def padded() -> Iterator[None]:
    """Rows lie as on a device, since dropout draws a number a place. Layers stay the CPU's faster ones."""
    held, faster.LONGEST = faster.LONGEST, 0
    try:
        yield
    finally:
        faster.LONGEST = held


@contextmanager
def computing_on(place: torch.device) -> Iterator[None]:
    held, device.chosen = device.chosen, lambda: place
    try:
        yield
    finally:
        device.chosen = held


def seen(run: Any, folder: RunFolder, *, name: str, there: Place | None) -> Seen:
    """Execute it there (None: on the CPU); there it is stopped and resumed, and its model is exported."""
    folder.ensure_run(run)
    copies, left, errors = [0], [], []
    step, count = 0, 0

    def counted() -> int:
        return 0 if there is None else there.copies()

    def progress(event: dict[str, Any]) -> None:
        nonlocal step, count
        if event["event"] == "step":
            step = event["step"]
            copies.append(counted() - count)
        elif event["event"] == "failed":
            errors.append(event["error"])
        count = counted()

    def write_model(session: TorchSession, into: Path) -> float:
        if there is not None:
            left.extend(not_there(session, there.holds))
        return held(session, into)

    held, TorchSession.write_model = TorchSession.write_model, write_model
    texts: tuple[Any, ...] = ()
    try:
        with computing_on(torch.device("cpu") if there is None else there.device), padded():
            status = work(folder, progress, stop=lambda: there is not None and step == STOP_AFTER)
            if status == STOPPED:
                status = work(folder, progress)
            if status == 0:
                texts = tuple(one.prediction for one in folder.read_predictions())
                texts += tuple(decoded(folder, run)) if name in DECODED else ()
                if there is not None and name != "ensemble":
                    for merge in (False, True):
                        export(folder.path, folder.path.parent / f"{folder.path.name}-{merge}", merge=merge)
    except Exception as error:
        errors.append(f"{type(error).__name__}: {error}")
    finally:
        TorchSession.write_model = held
    losses = [record.loss for record in folder.steps()] + list(validation_losses(folder))
    return Seen(tuple(errors), tuple(losses), texts, tuple(left), max(copies))


def decoded(folder: RunFolder, run: Any) -> Iterator[list[list[int]]]:
    """By beam search and by drawing, from the saved model."""
    opened = open_saved(find_saved(str(folder.path)), run)
    prompts = [opened.text.tokenizer(text)["input_ids"] for text in ("test 0", "and a longer prompt")]
    for settings in DECODINGS:
        ids = [torch.tensor(prompt, dtype=torch.int32, device="cpu").numpy() for prompt in prompts]
        yield opened.session.generate(ids, settings, progress=lambda event: None)


def validation_losses(folder: RunFolder) -> Iterator[float]:
    file = folder.path / "validation.jsonl"
    for line in file.read_text().splitlines() if file.exists() else ():
        yield json.loads(line)["loss"]


def not_there(session: TorchSession, holds: Callable[[torch.Tensor], bool]) -> Iterator[str]:
    """Every tensor of the model, and of what the next step depends on."""
    model = {**dict(session.model.named_parameters()), **dict(session.model.named_buffers())}
    yield from (name for name, value in model.items() if not (holds(value) or name.endswith(NUMBERS)))
    if session.method is not None and session.method.trains:
        for kind, tensors in session.tensors().items():
            for name, value in tensors.items():
                if not holds(value) and value.dim() > 0 and not name.endswith(NUMBERS):
                    yield f"{kind}: {name}"


if __name__ == "__main__":
    _folder = Path(sys.argv[3])
    _found = examine(_folder, *sys.argv[1:3], names=sys.argv[4:], there=pretended())
    (_folder / "complaints.json").write_text(json.dumps(_found))
