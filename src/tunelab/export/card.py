"""The model card of an exported run: what it is, how it was made, how good it is, how it is loaded.

Only what may be shown to anybody: no paths of this machine, no access tokens, text from files and models escaped.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tunelab.config.run import RunConfig
from tunelab.config.schema import ModelSource
from tunelab.config.study_yaml import dump_yaml
from tunelab.export.adapter import Copied
from tunelab.export.check import Trained
from tunelab.export.merge import Merged
from tunelab.kernels.peft_format import read_config
from tunelab.models.also import has_more
from tunelab.models.configurations import EMBEDDED
from tunelab.models.load import local_folder
from tunelab.records import Located, RunResult
from tunelab.report.numbers import count, interval, score_decimals
from tunelab.report.tables import Table, cells, escaped_markdown, markdown, words
from tunelab.study.planning.planned import BASE
from tunelab.study.store import RunFolder

EMBEDDED_LICENCE = "apache-2.0"
"""The package's own: its models are made by it, from text that it writes."""
UNKNOWN_LICENCE = "unknown here: look at the base model's page before you pass this model on, its terms bind you too"
PACKAGES = ("torch", "jittor", "transformers", "tokenizers")
_SECRET = re.compile(r"\b(?:hf_|ghp_|github_pat_|sk-)[A-Za-z0-9_-]{16,}")
_PATH = re.compile(r"(?<![\w.~:/>-])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\"]+[/\\])+(?=[^\s/\\'\"])")


def card_text(folder: RunFolder, saved: Trained, *, kind: str, written: Merged | Copied, base: Located) -> str:
    """README.md of the exported folder."""
    run, result = folder.read_run(), folder.read_result()
    assert result is not None, f"{folder.path} has not finished"
    dtype = written.dtype if isinstance(written, Merged) else None
    licence = EMBEDDED_LICENCE if saved.source.name in EMBEDDED else _licence(base)
    blocks = [
        _front_matter(saved.source, licence, kind=kind),
        f"# {_shown(run.method['label'])} on {_shown(run.task)}",
        _opening(run, saved, kind=kind, dtype=dtype),
        *_loading(run, saved, kind=kind),
        "## How good it is",
        _scores(folder, result),
        f"Scored on the task's test rows; seed {run.seed} of training. [low, high]: 95 % interval over test examples, "
        "which does not cover the variation between seeds.",
        "## How it was made",
        markdown(_facts(run, result, licence)),
        "The method with all its options, and the data:",
        _fenced(dump_yaml(_public({"method": run.method, "task": {"name": run.task, **run.task_options}}))),
        "The rest of the run's settings:",
        _fenced(dump_yaml(_public(_settings(run)))),
        "## Check",
        _check(written),
    ]
    return "\n\n".join(block.strip("\n") for block in blocks) + "\n"


def _front_matter(source: ModelSource, licence: str | None, *, kind: str) -> str:
    facts: dict[str, Any] = {"library_name": "peft" if kind == "adapter" else "transformers", "tags": ["tunelab"]}
    if licence is not None:
        facts["license"] = licence
    if _on_hub(source):
        facts["base_model"] = source.name
        facts["base_model_relation"] = "finetune" if kind in ("merged", "weights") else "adapter"
    return f"---\n{dump_yaml(facts)}---"


def _opening(run: RunConfig, saved: Trained, *, kind: str, dtype: str | None) -> str:
    name = _shown(run.method["name"])
    what = {
        "merged": f"Plain weights ({dtype}) into which {name}'s update is merged",
        "weights": f"Weights trained by {name}",
        "adapter": f"An adapter trained by {name}, in PEFT's format",
        "method": f"What {name} trained, in its own format (safetensors and JSON)",
    }[kind]
    text = f"{what}; the base model is {_base_name(saved.source)}."
    if saved.method.base_storage != "float":
        storage = saved.method.base_storage
        text += f" The base was held in {storage} while it was trained"
        text += "." if kind == "merged" else f"; on a base that is not in {storage} it gives other texts."
    return text


def _loading(run: RunConfig, saved: Trained, *, kind: str) -> list[str]:
    """The heading, and the code of it; `FOLDER` is wherever the reader has put this folder."""
    automatic = "AutoModelForSeq2SeqLM" if _is_encoder_decoder(saved) else "AutoModelForCausalLM"
    lines = [f"from transformers import {automatic}, AutoTokenizer", ""]
    trust = ", trust_remote_code=True" if saved.source.trust_remote_code else ""
    shell = _fenced("tunelab generate FOLDER --prompt '...'", "console")
    if kind == "method":
        return ["## How to load it", shell]
    if kind == "adapter":
        revision = f", revision={run.model_revision!r}" if _on_hub(saved.source) else ""
        embedded = saved.source.name in EMBEDDED
        name = repr(saved.source.name if _on_hub(saved.source) else "BASE")
        name = f"EMBEDDED[{saved.source.name!r}]" if embedded else name
        lines.insert(0, "from peft import PeftModel")
        lines += [] if embedded or _on_hub(saved.source) else ["# BASE: the folder of the base model"]
        exact = ', dtype="float32"' if has_more(read_config(saved.folder)) else ""
        lines += [f"base = {automatic}.from_pretrained({name}{revision}{trust}{exact})"]
        if saved.source.tokens:
            lines += ['base.resize_token_embeddings(len(AutoTokenizer.from_pretrained("FOLDER")))']
        lines += ['model = PeftModel.from_pretrained(base, "FOLDER")']
    else:
        lines += [f'model = {automatic}.from_pretrained("FOLDER"{trust})']
    lines += ['tokenizer = AutoTokenizer.from_pretrained("FOLDER")']
    if kind == "adapter":
        lines.insert(1, lines.pop(1).replace("AutoTokenizer", "AutoTokenizer, GenerationConfig"))
        if saved.source.name in EMBEDDED:
            lines.insert(2, "from tunelab.models.configurations import EMBEDDED")
        lines += ["# how texts end; give it as model.generate(..., generation_config=generation_config)"]
        lines += ['generation_config = GenerationConfig.from_pretrained("FOLDER")']
    said = ["## How to load it", _fenced("\n".join(lines), "python"), "or", shell]
    if (template := run.task_options.get("prompt")) and isinstance(template, str):
        exact = json.dumps(template, ensure_ascii=False)  # a line break at the end counts, and nobody would see it
        said += ["It was trained on prompts of this form, written as JSON:", _fenced(exact)]
    elif run.task_options.get("messages"):
        options = "add_generation_prompt=True, return_dict=True, return_tensors='pt'"
        ask = f"inputs = tokenizer.apply_chat_template(messages, {options})"
        said += ["It was trained on conversations in the tokenizer's chat template:", _fenced(ask, "python")]
    return said


def _is_encoder_decoder(saved: Trained) -> bool:
    from tunelab.models.load import read_configuration

    return bool((read_configuration(saved.source) or {}).get("is_encoder_decoder"))


def _scores(folder: RunFolder, result: RunResult) -> str:
    """The base of the same study beside it, where it is there: a score alone says little."""
    base = _base_result(folder, result)
    heads = ["Metric", result.method, *([] if base is None else ["base"]), "Examples", "Signature"]
    rows = []
    for name, score in result.scores.items():
        arrow = "↑" if score.higher_is_better else "↓"
        values = [score, *([] if base is None else [base.scores.get(name)])]
        shown = ["–" if one is None else _interval(one) for one in values]
        rows.append(cells(f"{name} {arrow}", *shown, str(score.n), score.signature))
    return markdown(Table("", tuple(map(words, heads)), tuple(rows)))


def _interval(score: Any) -> str:
    return interval(score.value, score.low, score.high, score_decimals([score.value, score.high]))


def _base_result(folder: RunFolder, result: RunResult) -> RunResult | None:
    """Of the same study, task, backend and data; the base has one seed."""
    run = folder.read_run()
    for path in sorted(folder.path.absolute().parent.glob(f"{BASE['name']}--*/result.json")):
        other = RunFolder(path.parent)
        theirs = other.read_run()
        same = ("task", "backend", "model_revision", "data_revision", "generation")
        if theirs.method["name"] == BASE["name"] and all(getattr(theirs, f) == getattr(run, f) for f in same):
            return other.read_result()
    return None


def _facts(run: RunConfig, result: RunResult, licence: str | None) -> Table:
    where = result.provenance
    packages = ", ".join(f"{name} {where.packages[name]}" for name in PACKAGES if name in where.packages)
    facts = {
        "base model": _base_name(run.model),
        "revision of the base": run.model_revision,
        "licence of the base": licence or UNKNOWN_LICENCE,
        "method": run.method["label"],
        "learning rate": "–" if result.learning_rate is None else f"{result.learning_rate:g}",
        "trained": f"{count(result.trainable_parameters)} of {count(result.total_parameters)} parameters, "
        f"{result.num_steps} steps, {result.num_supervised_tokens} supervised tokens",
        "task": run.task,
        "revision of the data": run.data_revision,
        "seed": str(run.seed),
        "precision of training": run.precision
        + (f", trained matrices held in {run.weights}" if run.weights != "fp32" else ""),
        "run": run.id,
        "made with": f"tunelab {where.tunelab}, Python {where.python}, {packages}",
        "on": f"{where.device}; {where.hardware}",
    }
    return Table(
        "", (words("What"), words("Value")), tuple(cells(name, _clean(value)) for name, value in facts.items())
    )


def _settings(run: RunConfig) -> dict[str, Any]:
    sections = {"budget", "batch", "optimizer", "schedule", "loss", "generation"}
    return run.model_dump(mode="json", include=sections)


def _check(written: Merged | Copied) -> str:
    agreement = written.agreement
    text = (
        f"Read again after it was written: logits differ from the trained model's by at most "
        f"{agreement.largest_logit_difference:.1e} ({agreement.share_of_largest_logit:.1e} of the largest), in fp32."
    )
    if isinstance(written, Merged) and written.losses is not None:
        losses = written.losses
        text += (
            f" The loss on {losses.num_rows} rows is {losses.trained:.4f} nats per token with the adapter on the "
            f"quantised base, and {losses.written:.4f} merged."
        )
    if (texts := written.texts) is not None:
        text += f" transformers' own `generate` writes {texts.equal} of {texts.num} texts as the study did, greedily."
    return text


def _licence(base: Located) -> str | None:
    """From the front matter of a README beside the base's files; hub snapshots here hold none."""
    readme = base.folder / "README.md"
    if not readme.exists():
        return None
    head = readme.read_text(encoding="utf-8", errors="replace").split("\n---", 1)[0]
    found = re.search(r"^license:\s*[\"']?([A-Za-z0-9][\w.+-]*)", head, re.MULTILINE) if head[:3] == "---" else None
    return None if found is None else found.group(1)


def _on_hub(source: ModelSource) -> bool:
    return local_folder(source) is None


def _base_name(source: ModelSource) -> str:
    if source.name in EMBEDDED:
        return f"{source.name} (it comes with tunelab)"
    if _on_hub(source):
        return _shown(source.name)
    return f"{_shown(Path(source.name).name)} (a folder of whoever trained it)"


def _public(value: Any) -> Any:
    """Without aliases, paths shortened to their last name."""
    if isinstance(value, dict):
        return {key: _public(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_public(one) for one in value]
    return _clean(value) if isinstance(value, str) else json.loads(json.dumps(value))


def _clean(text: str) -> str:
    return _SECRET.sub("(removed)", _PATH.sub("", text))


def _shown(text: str) -> str:
    return escaped_markdown(_clean(text))


def _fenced(text: str, language: str = "") -> str:
    """A block that no run of backticks inside it can close."""
    longest = max((len(ticks) for ticks in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
