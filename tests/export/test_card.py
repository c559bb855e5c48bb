"""The model card holds what a reader needs, and nothing of the machine it was written on."""

import json
import re

import pytest
import yaml

from tunelab.export.card import _clean, _loading
from tunelab.export.export import export, find_run
from tunelab.study.store import RunFolder


@pytest.fixture(scope="module")
def card(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    export(finished.run("lora"), folder / "model", merge=True)
    return (folder / "model" / "README.md").read_text()


@pytest.mark.slow
def test_it_says_what_was_trained_on_what_and_how_good_it_is(card, finished):
    run, result = (RunFolder(finished.run("lora")).read_run(), RunFolder(finished.run("lora")).read_result())
    assert "# lora on replies" in card and "the base model is llama" in card
    assert run.model_revision in card and run.data_revision in card and run.id in card
    score = result.scores["perplexity"]
    assert f"{score.value:.1f} [{score.low:.1f}, {score.high:.1f}]" in card
    base = RunFolder(finished.run("base")).read_result().scores["perplexity"]
    assert f"{base.value:.1f} [{base.low:.1f}, {base.high:.1f}]" in card
    assert (
        "rank: 2\n" in card and "alpha: 4.0\n" in card and "| learning rate | 0.01 |" in card and "| seed | 0 |" in card
    )
    assert "precision of training | fp32" in card and result.provenance.packages["torch"] in card
    assert 'AutoModelForCausalLM.from_pretrained("FOLDER")' in card and "tunelab generate FOLDER" in card
    assert '```\n"{question}\\n"\n```' in card, "the line break at its end is part of it"


def test_its_front_matter_is_yaml(card):
    facts = yaml.safe_load(card.split("---\n")[1])
    assert facts["library_name"] == "transformers"
    assert "base_model" not in facts, "a folder is no model of the hub"


def test_an_adapter_on_an_embedded_model_says_where_that_is(finished):
    saved = find_run(finished.run("lora"))
    tiny = saved._replace(source=saved.source.model_copy(update={"name": "tunelab/tiny"}))
    code = "\n".join(_loading(saved.run, tiny, kind="adapter"))
    assert "from tunelab.models.configurations import EMBEDDED" in code
    assert "base = AutoModelForCausalLM.from_pretrained(EMBEDDED['tunelab/tiny'])" in code and "BASE" not in code


def test_an_unknown_licence_says_to_look(card):
    assert "look at the base model's page" in card


def test_no_path_of_this_machine_is_in_an_exported_folder(card, finished):
    assert str(finished.folder) not in card and "/tmp" not in card
    assert "train: train.jsonl" in card


def test_a_licence_beside_the_base_is_named(own, finished, tmp_path):
    readme = finished.folder / "llama" / "README.md"
    readme.write_text("---\nlicense: mit\n---\n# a base\n")
    try:
        export(own.run("full"), tmp_path / "model")
    finally:
        readme.unlink()
    card = (tmp_path / "model" / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "mit"
    assert "look at the base model's page" not in card


def test_text_of_others_cannot_break_out_of_the_card(own, tmp_path):
    run = own.run("full")
    facts = json.loads((run / "run.json").read_text())
    facts["method"]["label"] = "full <script>alert(1)</script> | [x](http://evil)"
    facts["task_options"]["prompt"] = "```\n# injected\n{question}"
    (run / "run.json").write_text(json.dumps(facts))
    export(run, tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    outside = re.sub(r"^(`{3,})[^`]*?$.*?^\1$", "", card, flags=re.MULTILINE | re.DOTALL)
    assert "full &lt;script" in outside and "injected" not in outside
    assert "<script>" not in outside and "[x](http" not in outside
    inside = card.split("written as JSON:\n\n")[1]
    assert inside.startswith('````\n"```\\n# injected\\n{question}"\n````\n')


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/anna/data/train.jsonl", "train.jsonl"),
        ("read from /home/anna/x.csv, then", "read from x.csv, then"),
        ("~/models/mine", "mine"),
        (r"C:\Users\anna\x.csv", "x.csv"),
        ("owner/name", "owner/name"),
        ("https://hub.example/owner/name", "https://hub.example/owner/name"),
        ("a token hf_abcdefghijklmnopqrstuvwx", "a token (removed)"),
        ("a / b, and 1/2", "a / b, and 1/2"),
    ],
)
def test_paths_are_shortened_and_tokens_removed(text, shown):
    assert _clean(text) == shown
