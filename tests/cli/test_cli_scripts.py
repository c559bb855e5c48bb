"""A study whose targets are Chinese: what its metrics do not read is said before anything is trained, and after."""

import json

import pytest

from tunelab.study.store import RunFolder

SENTENCES = ["我们去公园散步。", "北京是中国的首都。", "这家餐厅很便宜。", "今天天气很好。"]
THROWN_AWAY = (
    "rouge_l: its tokeniser throws away 100 % of the references' letters (Han): a word is a run of a-z and 0-9"
)
UNSPLIT = "bleu: its tokeniser finds no words in 100 % of the references' letters (Han)"
STUDY = """
name: chinese
model: {model}
tasks:
  - {{name: parks, train: rows.jsonl, test: rows.jsonl, prompt: "{{q}}", target: "{{a}}", metrics: [{metrics}]}}
methods: [full: {{learning_rate: 1e-3}}]
seeds: [0]
budget: {{steps: 1}}
precision: fp32
threads: 1
generation: {{max_new_tokens: 4}}
"""


@pytest.fixture
def study(finished, tmp_path, monkeypatch):
    """Writes a study with some metrics, and gives its file."""
    monkeypatch.chdir(tmp_path)
    rows = [{"q": f"{n}?", "a": SENTENCES[n % 4]} for n in range(16)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def write(metrics):
        text = STUDY.format(model=finished.file.parent / "llama", metrics=metrics)
        (tmp_path / "chinese.yaml").write_text(text)
        return tmp_path / "chinese.yaml"

    return write


def test_plan_and_show_say_it_before_anything_is_trained(command, study):
    file = study("rouge_l, bleu, chrf")
    notes = json.loads(command("plan", file, "--json").out)["notes"]
    for line in (THROWN_AWAY, UNSPLIT):
        assert [note for note in notes if note.startswith(f"parks, first test rows: {line}")]
    shown = command("show", file).out
    assert THROWN_AWAY in shown and UNSPLIT in shown and "chrf:" not in shown


def test_metrics_that_read_the_script_have_nothing_to_say(command, study):
    file = study("'rouge_l:unicode', 'bleu:zh'")
    assert not [note for note in json.loads(command("plan", file, "--json").out)["notes"] if "letters" in note]
    assert "letters (" not in command("show", file).out


def test_run_evaluate_and_the_report_say_it_beside_the_scores(command, study, tmp_path):
    done = command("run", study("rouge_l, bleu"), "--cluster", "in-process", "--out", tmp_path / "out")
    assert done.status == 0, done.err
    run = RunFolder(next((tmp_path / "out" / "runs").glob("full--*")))
    notes = {name: score.note for name, score in run.read_result().scores.items()}
    assert f"rouge_l: {notes['rouge_l']}".startswith(THROWN_AWAY) and notes["rouge_l"].endswith("use rouge_l:unicode")
    assert notes["bleu"].endswith("use bleu:zh")
    report = (tmp_path / "out" / "report.md").read_text()
    page = (tmp_path / "out" / "report.html").read_text()
    assert report.count("throws away 100 % of the references") == 2  # under the table, and among the notes
    assert "throws away 100 % of the references" in page
    assert THROWN_AWAY in " ".join(done.out.split())
    rows = json.loads((tmp_path / "out" / "comparison.json").read_text())["rows"]
    assert all(any(note.startswith(UNSPLIT) for note in row["notes"]) for row in rows)
    again = command("evaluate", run.path)
    assert f"note: {THROWN_AWAY}" in again.out
