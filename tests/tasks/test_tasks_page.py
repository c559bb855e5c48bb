"""The studies of docs/tasks.md plan."""

import json
import re
from pathlib import Path

from tunelab.config.read import read_study
from tunelab.study.planning.plan import make_plan

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tasks.md").read_text()


def chat(text: str) -> str:
    return json.dumps({"conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": "Hello"}]})


def test_its_studies_plan(tmp_path):
    (tmp_path / "pairs.jsonl").write_text('{"question": "Q", "answer": "A"}\n{"question": "P", "answer": "B"}\n')
    (tmp_path / "letters.txt").write_text("Dear Ada,\nDear Bo,\n")
    (tmp_path / "chats.jsonl").write_text(chat("Hi") + "\n" + chat("Ho") + "\n")
    (tmp_path / "data/tulu").mkdir(parents=True)
    says = [{"role": "assistant", "content": "Hello"}]
    rows = [
        {"dataset": "x", "id": str(row), "messages": [{"role": "user", "content": f"Hi {row}"}, *says]}
        for row in range(30)
    ]
    (tmp_path / "data/tulu/train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    studies = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert len(studies) == 2
    planned = [
        make_plan(read_study(text=f"model: tunelab/tiny\nmethods: [full]\n{study}", base_folder=tmp_path))
        for study in studies
    ]
    assert [task.name for plan in planned for task in plan.tasks] == ["replies", "letters", "chats", "instructions"]
