"""Texts for a user's prompts: settings that draw, conversations, and what is refused in one line."""

import json

import pytest

from tunelab.config.schema import Generation
from tunelab.errors import ConfigError, DataError
from tunelab.records import Turn
from tunelab.study.verbs import generate as verb
from tunelab.study.verbs.converse import converse
from tunelab.study.verbs.generate import generate
from tunelab.tasks.files import Files

TINY = "tunelab/tiny"


def test_drawn_texts_are_the_same_again_and_differ_by_prompt_and_temperature():
    asked = ["The kitchen was"] * 3
    drawn = generate(TINY, asked, max_new_tokens=12, temperature=1.0, top_p=0.95)
    assert drawn == generate(TINY, asked, max_new_tokens=12, temperature=1.0, top_p=0.95)
    assert len(set(drawn)) > 1
    greedy = generate(TINY, asked[:1], max_new_tokens=12)
    assert generate(TINY, asked[:1], max_new_tokens=12, temperature=0.0) == greedy != drawn[:1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "--temperature: "),
        ({"temperature": float("nan")}, "--temperature: "),
        ({"top_p": 0.0, "temperature": 1.0}, "--top-p: "),
        ({"top_p": 1.5, "temperature": 1.0}, "--top-p: "),
        ({"max_new_tokens": 0}, "--max-new-tokens: "),
        ({"temperature": 0.7, "beams": 4}, "temperature 0.7 draws and beams 4 search: give one of them"),
        ({"top_p": 0.9}, "top_k and top_p are for drawing: give temperature too"),
    ],
)
def test_settings_out_of_range_are_one_line(options, message):
    with pytest.raises(ConfigError) as refused:
        generate(TINY, ["a"], **options)
    (line,) = refused.value.problems
    assert message in line and "\n" not in line


def test_what_draws_takes_the_place_of_the_study_s_search_and_the_other_way():
    search = Generation(beams=4, length_penalty=0.9)
    assert verb._generation(search, {"temperature": 0.7}).beams == 1
    draw = Generation(temperature=0.7, top_p=0.9, top_k=5)
    for options in ({"beams": 2}, {"temperature": 0.0}):
        made = verb._generation(draw, options)
        assert (made.temperature, made.top_p, made.top_k) == (0, 1, 0)
    assert verb._generation(draw, {"temperature": 1.2}).top_p == 0.9


def test_chat_is_written_by_the_model_s_template(monkeypatch):
    asked = []
    whole = verb._encoded

    def seen(examples, text, data, *, length):
        ids = whole(examples, text, data, length=length)
        asked.extend(text.tokenizer.decode(one) for one in ids)
        return ids

    monkeypatch.setattr(verb, "_encoded", seen)
    generate(TINY, ["Say <|end|> now"], max_new_tokens=2, chat=True, system="Be brief.")
    assert asked == ["<|system|>\nBe brief.<|end|>\n<|user|>\nSay <|end|> now<|end|>\n<|assistant|>\n"]


def test_a_message_holds_no_control_tokens():
    speaker = verb.Speaker(TINY, chat=True)
    assert speaker._run.data.special_tokens == "text" and verb.Speaker(TINY)._run.data.special_tokens == "control"


def test_a_model_without_a_chat_template_is_told(tmp_path):
    import tiny

    folder = tiny.model_folder(tmp_path / "model")
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="has no chat template, .*leave --chat out"):
        generate(str(folder), ["Hello"], max_new_tokens=2, chat=True)


def test_a_prompt_that_is_cut_is_said(monkeypatch):
    told = []
    speaker = verb.Speaker(TINY, told=told.append, max_new_tokens=1)
    speaker.answers(verb.ask(["a"], speaker.saved).examples)
    speaker._opened.text.tokenizer.model_max_length = 8
    speaker.answers(verb.ask(["a", "one two three four five six seven eight nine"], speaker.saved).examples)
    assert told == ["prompt 2: longer than the 8 tokens that the model reads; its beginning is cut off"]


def test_one_text_is_no_list_of_prompts():
    with pytest.raises(ConfigError, match="give a list of texts"):
        generate(TINY, "The kitchen was")


def test_a_text_does_not_fill_two_columns_and_a_row_does(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"context": "x", "question": "y", "answer": "z"}\n')
    task = Files(name="t", train=path, test=path, prompt="{context}\n{question}\n", target="{answer}")
    with pytest.raises(DataError) as refused:
        task.question("Who?", name="prompt 1")
    assert str(refused.value) == (
        "prompt 1: is one text, and prompts are made of the columns context and question; give a row of them, "
        '{"context": "...", "question": "..."}, as the prompt or in a .jsonl file'
    )
    row = {"context": "Here.", "question": "Who?"}
    filled = task.question(json.dumps(row), name="prompt 1").prompt
    assert filled == task.question(row, name="prompt 1").prompt == "Here.\nWho?\n"


def test_rows_that_are_only_asked_need_no_answer(tmp_path):
    for name, row in {"alpaca": {"instruction": "a", "output": "b"}, "text": {"text": "a"}}.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text(json.dumps(row) + "\n")
        asked = Files(name="t", train=path, test=path).question({next(iter(row)): "Go on"}, name="1")
        assert (asked.turns or asked.prompt) == ((Turn("user", "Go on"),) if name == "alpaca" else "Go on")


class Parrot:
    """A speaker that says how it was asked."""

    def __init__(self):
        self.asked = []

    def answers(self, examples, *, draw):
        self.asked.append((examples[0].turns, draw))
        return [f"answer {draw}"]


@pytest.mark.parametrize("end", ["", EOFError])
def test_a_conversation_is_kept_turn_by_turn(end):
    parrot, said = Parrot(), []
    messages = iter(["Hello", "And?"])

    def read():
        message = next(messages, end)
        if message is EOFError:
            raise EOFError
        return message

    converse(parrot, system="Be brief.", read=read, write=said.append)
    assert said == ["answer 0", "answer 1"]
    turns, draw = parrot.asked[1]
    assert [(turn.role, turn.text) for turn in turns] == [
        ("system", "Be brief."), ("user", "Hello"), ("assistant", "answer 0"), ("user", "And?")]  # fmt: skip
    assert draw == 1


def test_a_model_converses():
    said, messages = [], iter(["Hello", "Why?", ""])
    speaker = verb.Speaker(TINY, chat=True, max_new_tokens=3)
    converse(speaker, read=lambda: next(messages), write=said.append)
    assert len(said) == 2
