"""One's own data inline in a study."""

import json

import pytest
from pydantic import ValidationError

from tunelab.config.explain import explain
from tunelab.errors import DataError
from tunelab.records import Example, Turn
from tunelab.tasks.files import Files

WAYS = "needs prompt and target, or text alone, or messages alone (or none of them: the columns decide)"


@pytest.fixture
def options(tmp_path):
    """Options of a task with 20 rows to train on, one of them without an answer, and 4 test rows on 2 questions."""
    train = [{"question": f"q{row}", "answer": f"a{row}" if row else ""} for row in range(20)]
    test = [{"question": f"q{row % 2}", "answer": f"a{row}"} for row in range(4)]
    for name, rows in (("train", train), ("test", test)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "name": "replies",
        "train": str(tmp_path / "train.jsonl"),
        "test": str(tmp_path / "test.jsonl"),
        "prompt": "{question}\n",
        "target": "{answer}",
    }


def problems(options: dict) -> list[str]:
    with pytest.raises(ValidationError) as error:
        Files.model_validate_json(json.dumps(options), strict=True)
    return [f"{'.'.join(map(str, path))}: {text}" for path, text in explain(error.value, given=options, model=Files)]


def test_rows_become_examples(options):
    task = Files(**options)
    assert task.examples("train")[0] == Example("train-000001", "q1\n", "a1", ("a1",))
    assert task.examples("validation") == []
    assert [example.references for example in task.examples("test")] == [("a0", "a2"), ("a1", "a3")]
    assert task.metrics == ("rouge_l", "bleu")


def test_what_was_left_out_or_drawn_is_noted(options):
    task = Files(**options, train_rows=5)
    assert len(task.examples("train")) == 5
    assert task.notes("train") == [
        "train: 1 of 20 rows left out, their target is empty",
        "train: 5 of 19 examples drawn by seed 0",
    ]
    assert task.notes("test") == task.notes("validation") == []


def test_plain_text(options):
    del options["prompt"], options["target"]
    task = Files(**options, text="{question} {answer}")
    assert task.examples("test")[1] == Example("test-000001", "", "q1 a1", ("q1 a1",))
    assert task.metrics == ("perplexity", "bits_per_token")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"text": "{answer}"}, f": {WAYS}; got prompt and target and text"),
        ({"prompt": None}, f": {WAYS}; got target"),
        ({"messages": "messages"}, f": {WAYS}; got prompt and target and messages"),
        ({"prompt": {"question": None}}, 'prompt: {question} without quotes is a mapping in YAML; write "{question}"'),
        (
            {"target": "answer"},
            "target: 'answer' names no column, so it is the same for every row; write it as '{column}'",
        ),
        ({"target": "{answer"}, "target: '{' in '{answer' is not '{column}'; write '{{' or '}}' for a brace itself"),
        (
            {"encoding": "utf-9"},
            "encoding: 'utf-9' is not an encoding Python knows; common ones are utf-8, cp1252, utf-16",
        ),
        ({"train_rows": True}, "train_rows: must be a whole number; got true"),
        ({"metrics": "bleu"}, "metrics: must be a list; got 'bleu'; write [bleu]"),
    ],
)
def test_wrong_options_are_explained(options, change, expected):
    assert problems({**options, **change}) == [expected]


def test_metrics_of_one_s_own_are_kept(options):
    task = Files.model_validate_json(json.dumps({**options, "metrics": ["exact_match"]}), strict=True)
    assert task.metrics == ("exact_match",)


def test_unknown_option_names_the_nearest(options):
    (message,) = problems({**options, "targets": "{answer}"})
    assert message.startswith(
        "targets: unknown key; did you mean 'target'? Keys: name, metrics, generation, train, test,"
    )


def test_an_unknown_column_lists_the_file_s_columns(options):
    task = Files(**{**options, "target": "{anwser}"})
    with pytest.raises(DataError) as error:
        task.examples("test")
    expected = "test.jsonl: row 1 has no column 'anwser'. Did you mean 'answer'? Columns: question, answer"
    assert str(error.value).endswith(expected)


def test_fingerprint_follows_rows_and_not_metrics(options, tmp_path):
    first = Files(**options).fingerprint()
    assert first == Files(**options, metrics=["bleu"]).fingerprint()
    assert first != Files(**options, train_rows=3).fingerprint()
    with open(options["test"], "a") as file:
        file.write('{"question": "x", "answer": "y"}\n')
    assert first != Files(**options).fingerprint()


def test_a_rehearsal_is_on_the_first_rows_of_each_file(options, tmp_path):
    long = tmp_path / "long.csv"
    long.write_text("question,answer\n" + "".join(f"q{row},{'é' if row else ''}\n" for row in range(200)), "cp1252")
    whole = Files(**{**options, "train": str(long), "encoding": "cp1252"})
    task = whole.rehearsal(tmp_path / "rows")
    assert task.train == tmp_path / "rows" / "train.jsonl"
    assert task.validation is None
    assert task.examples("train") == whole.examples("train")[:48]
    assert task.examples("test") == whole.examples("test")
    assert (task.train_rows, task.test_rows) == (48, 8)
    assert Files(**task.model_dump(mode="json")) == task


# ------------------------------------------------------------------ conversations, and what the columns say


def task(folder, rows: list[dict], **options) -> Files:
    """The same rows to train and to test on."""
    for name in ("train", "test"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Files(name="chats", train=folder / "train.jsonl", test=folder / "test.jsonl", **options)


SHAREGPT = {"id": 7, "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}
CHAT = Example("train-000000", "Hi", "Hello", ("Hello",), (Turn("user", "Hi"), Turn("assistant", "Hello")))


def test_a_shape_is_detected_and_said(tmp_path):
    found = task(tmp_path, [SHAREGPT])
    assert found.examples("train") == [CHAT]
    assert found.notes("train") == ["train.jsonl: read as sharegpt conversations; not read: id"]
    assert found.notes("test") == []
    assert found.metrics == ("rouge_l", "bleu")


def test_a_named_column_of_conversations_is_not_a_guess(tmp_path):
    named = task(tmp_path, [{"chat": SHAREGPT["conversations"], "text": "x"}], messages="chat")
    assert named.examples("train") == [CHAT]
    assert named.notes("train") == []


def test_a_detected_pair_and_a_detected_text(tmp_path):
    pair = task(tmp_path, [{"question": "Q", "answer": "A"}])
    assert pair.examples("test") == [Example("test-000000", "Q\n", "A", ("A",))]
    text = task(tmp_path, [{"text": "Once."}])
    assert text.examples("train") == [Example("train-000000", "", "Once.", ("Once.",))]
    assert text.metrics == ("perplexity", "bits_per_token")
    assert text.notes("train") == ["train.jsonl: read as plain text (text)"]


def test_left_out_and_cut_conversations_are_noted(tmp_path):
    later = {"from": "human", "value": "And?"}
    rows = [
        SHAREGPT,
        {**SHAREGPT, "conversations": SHAREGPT["conversations"] + [later]},
        {**SHAREGPT, "conversations": [later]},
    ]
    found = task(tmp_path, rows)
    assert found.notes("train")[1:] == [
        "train: 1 of 3 rows left out, no assistant's turn follows a user's",
        "train: 1 of 3 rows used without the turns before their first user's or after their last assistant's",
    ]
    assert [example.references for example in found.examples("test")] == [("Hello", "Hello")]


def test_planning_reports_rows_that_cannot_be_read(tmp_path):
    unknown = task(tmp_path, [{"frage": "Q", "antwort": "A"}])
    assert len(unknown.problems()) == 1
    assert "its columns (frage, antwort) have none of the known shapes" in unknown.problems()[0]
    (wrong,) = task(tmp_path, [SHAREGPT], messages="conversation").problems()[:1]
    assert wrong.endswith(
        "train.jsonl: row 1 has no column 'conversation'. Did you mean 'conversations'? Columns: id, conversations"
    )
    absent = Files(name="x", train=tmp_path / "no.jsonl", test=tmp_path / "no.jsonl")
    assert absent.problems()[0].endswith("no.jsonl: no such file; a path in a study is relative to the study's folder")


def test_a_test_file_of_another_shape_lists_its_columns(tmp_path):
    found = task(tmp_path, [SHAREGPT])
    found.test.write_text('{"messages": []}\n')
    (message,) = found.problems()
    assert message.endswith("test.jsonl: row 1 has no column 'conversations'. Columns: messages")


def test_real_alpaca_rows_are_detected(shared):
    path = shared / "data/alpaca/alpaca_5000.json"
    alpaca = Files(name="alpaca", train=path, test=path)
    assert alpaca.notes("train") == [
        "alpaca_5000.json: read as alpaca (instruction, input, output)",
        "train: 2 of 5000 rows left out, their target is empty",
    ]
    turns = [example.turns for example in alpaca.examples("train")]
    assert len(turns) == 4998
    assert sum("\n\nInput: " in user.text for user, _ in turns) == 1943  # rows with an input, as its SOURCE.md counts


def test_real_conversations_are_detected(shared, tmp_path):
    path = shared / "data/chat_multiturn_substitute/kto_en_demo.json"
    chats = Files(name="chats", train=path, test=path)
    assert chats.notes("train") == ["kto_en_demo.json: read as openai messages; not read: label"]
    examples = chats.examples("train")
    assert len(examples) == 300
    assert {len(example.turns) for example in examples} == {2, 4, 6, 8, 10, 12}
    assert all(example.turns[-1].text == example.target for example in examples)


def test_conversations_are_rehearsed_on_the_first_ones(tmp_path):
    turns = [[{"role": "user", "content": f"q{row}"}, {"role": "assistant", "content": f"a{row}"}] for row in range(90)]
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"messages": each}) + "\n" for each in turns))
    whole = Files(name="chat", train=tmp_path / "train.jsonl", test=tmp_path / "test.jsonl")
    task = whole.rehearsal(tmp_path / "rows")
    assert list(task.examples("train")) == list(whole.examples("train"))[:48]
    assert len(task.examples("test")) == 8


def test_a_user_s_own_text_is_asked_as_the_rows_were(tmp_path):
    """What `tunelab generate RUN` sends."""
    write = {
        "pair": '{"prompt": "q", "completion": "a"}\n{"prompt": "p", "completion": "b"}\n',
        "chat": '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n',
    }
    for name, text in write.items():
        (tmp_path / f"{name}.jsonl").write_text(text)
    made = {name: Files(name="t", train=tmp_path / f"{name}.jsonl", test=tmp_path / f"{name}.jsonl") for name in write}
    assert made["pair"].question("q", name="1").prompt == made["pair"].examples("train")[0].prompt == "q\n"
    assert made["chat"].question("q", name="1").turns == made["chat"].examples("train")[0].turns[:1]
    row = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}
    assert [turn.text for turn in made["chat"].question(row, name="1").turns] == ["x"]
    templated = Files(
        name="t",
        train=tmp_path / "pair.jsonl",
        test=tmp_path / "pair.jsonl",
        prompt="<{prompt}>",
        target="{completion}",
    )
    assert templated.question("q", name="1").prompt == templated.question({"prompt": "q"}, name="1").prompt == "<q>"
    with pytest.raises(DataError, match=r"1: has no turn of a user"):
        made["chat"].question({"messages": []}, name="1")


# ------------------------------------------------------------------ fields of messages, and equal prompts


PLACE = [{"type": "function", "function": {"name": "find_place", "arguments": '{"name": "mill"}'}}]
CASES = {
    "weight": [("user", "Where?"), ("assistant", "WRONG", {"weight": 0}), ("user", "Again."), ("assistant", "By it.")],
    "tools": [("user", "Where?"), ("assistant", "", {"tool_calls": PLACE}), ("user", "By it."), ("assistant", "So.")],
    "null": [("user", "Where?"), ("assistant", None, {"tool_calls": PLACE})],
    "think": [("user", "Two and two?"), ("assistant", "Four.", {"reasoning_content": "2 and 2 make 4."})],
    "string": [("user", "Where?"), ("assistant", "Here.")],
    "trlpc": [("user", "Where is the mill?"), ("assistant", "By the river.")],
}


@pytest.fixture
def cases(tmp_path):
    """Conversations with a field each, six rows of one, as a task."""

    def made(name: str, **options) -> Files:
        turns = [{"role": role, "content": text, **(more or [{}])[0]} for role, text, *more in CASES[name]]
        row = {"messages": json.dumps(turns) if name == "string" else turns}
        row = {"prompt": turns[:1], "completion": turns[1:]} if name == "trlpc" else row
        return task(tmp_path, [row] * 6, **options)

    return made


def test_weight_0_is_read_and_not_learned(cases):
    found = cases("weight")
    assert all([turn.learned for turn in one.turns] == [True, False, True, True] for one in found.examples("train"))
    assert found.notes("train")[1:] == ["train: 6 turns of the assistant have weight 0: read, not learned"]
    ignored = cases("weight", ignore_fields=["weight"])
    assert all(turn.learned for one in ignored.examples("train") for turn in one.turns)


def test_calls_without_text_are_answers(cases):
    for name in ("tools", "null"):
        turns = cases(name).examples("train")[0].turns
        assert turns[1].text == "" and "find_place" in turns[1].more and turns[1].learned
    assert cases("null").examples("train")[0].target.startswith('{"type": "function"')
    without = cases("tools", ignore_fields=["tool_calls"])
    assert [turn.learned for turn in without.examples("train")[0].turns] == [True, False, True, True]
    assert without.notes("train")[1:] == ["train: 6 turns of the assistant are empty: read, not learned"]


def test_reasoning_is_kept_for_the_template(cases):
    assert cases("think").examples("train")[0].turns[1].more == '{"reasoning_content": "2 and 2 make 4."}'


def test_messages_as_json_text_and_as_prompt_and_completion(cases):
    assert [turn.text for turn in cases("string").examples("train")[0].turns] == ["Where?", "Here."]
    found = cases("trlpc")
    assert [turn.text for turn in found.examples("train")[0].turns] == ["Where is the mill?", "By the river."]
    assert found.notes("train") == ["train.jsonl: read as prompt and completion as messages"]
    assert found.question({"prompt": [{"role": "user", "content": "x"}], "completion": []}, name="1").prompt == "x"


def test_tools_of_a_row_are_given_and_are_not_called_unread(tmp_path):
    tools = [{"type": "function", "function": {"name": "find"}}]
    rows = [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "tools": tools}]
    found = task(tmp_path, rows)
    assert json.loads(found.examples("train")[0].given) == {"tools": tools}
    assert json.loads(found.question(rows[0], name="1").given) == {"tools": tools}
    assert found.notes("train") == ["train.jsonl: read as openai messages"]
    ignored = task(tmp_path, rows, ignore_fields=["tools"])
    assert ignored.examples("train")[0].given == ""
    assert ignored.notes("train") == ["train.jsonl: read as openai messages; not read: tools"]


def test_only_the_last_turn_is_learned_where_asked(tmp_path):
    turns = [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 2, "abcd", strict=True)]
    found = task(tmp_path, [{"messages": turns}], train_on="last")
    assert [turn.learned for turn in found.examples("train")[0].turns] == [True, False, True, True]
    assert not any(turn.learned for turn in found.question({"messages": turns}, name="1").turns if turn.role != "user")
    assert found.fingerprint() != task(tmp_path, [{"messages": turns}]).fingerprint()


@pytest.mark.parametrize(
    ("metrics", "join", "num_examples"),
    [
        (["rouge_l", "bleu"], "auto", 2),
        (["squad_em", "squad_f1"], "auto", 2),
        (["accuracy"], "auto", 4),
        (["exact_match"], "auto", 4),
        (["gsm8k_exact_match:strict"], "auto", 4),
        (["rouge_l", "accuracy"], "auto", 4),
        (["rouge_l"], False, 4),
        (["accuracy"], True, 2),
    ],
)
def test_equal_prompts_are_joined_unless_a_metric_counts_rows(options, metrics, join, num_examples):
    joined = Files(**options, metrics=metrics, join_equal_prompts=join)
    assert len(joined.examples("test")) == num_examples
    why = "the metrics count rows" if join == "auto" else "join_equal_prompts: false"
    expected = [f"test: rows with equal prompts are kept apart, each with its own answer ({why})"]
    assert joined.notes("test") == (expected if num_examples == 4 else [])


def test_rows_kept_apart_are_other_rows_only_where_prompts_are_equal(options):
    joined = Files(**options)
    assert joined.fingerprint() != Files(**options, metrics=["accuracy"]).fingerprint()
    assert (
        Files(**options, metrics=["accuracy"]).fingerprint() == Files(**options, join_equal_prompts=False).fingerprint()
    )
    alone = {**options, "test": options["train"]}
    assert Files(**alone).fingerprint() == Files(**alone, metrics=["accuracy"]).fingerprint()


def test_options_at_their_default_are_not_written_down(options):
    written = Files(**options).model_dump(mode="json")
    assert not {"train_on", "ignore_fields", "join_equal_prompts"} & set(written)
    asked = Files(**options, train_on="last", ignore_fields=["name"], join_equal_prompts=False)
    written = asked.model_dump(mode="json")
    assert (written["train_on"], written["ignore_fields"], written["join_equal_prompts"]) == ("last", ["name"], False)
    assert Files(**written) == asked


def test_a_backslash_and_an_n_are_said(options):
    assert Files(**{**options, "prompt": r"{question}\n"}).notes("train")[0] == (
        r"prompt: \n in it is two characters, a backslash and an n, and no line break"
    )
