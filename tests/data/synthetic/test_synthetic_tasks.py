"""What all generated tasks promise: pure functions of their seed, prefixes, and splits that share no facts."""

import re

import pytest

from tunelab.data.synthetic import arithmetic, chat, draw, headlines, restaurants
from tunelab.data.synthetic.arithmetic_problems import KINDS
from tunelab.data.synthetic.draw import SPLITS
from tunelab.data.synthetic.headline_events import EVENTS

TASKS = [arithmetic, chat, headlines, restaurants]
EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
COMPUTE = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a / b}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("split", SPLITS)
def test_fewer_rows_are_a_prefix_of_more(task, split):
    assert task.rows(split=split, n=10, seed=3) == task.rows(split=split, n=100, seed=3)[:10]
    assert len(task.rows(split=split, n=100, seed=3)) == 100


@pytest.mark.parametrize("task", TASKS)
def test_seeds_give_other_rows(task):
    assert task.rows(split="train", n=20, seed=0) != task.rows(split="train", n=20, seed=1)


@pytest.mark.parametrize("task", TASKS)
def test_unknown_split_is_refused(task):
    with pytest.raises(ValueError, match="'dev'"):
        task.rows(split="dev", n=1, seed=0)


@pytest.mark.parametrize("task", TASKS)
def test_no_test_row_occurs_in_training(task):
    train = {repr(row) for seed in (0, 1) for row in task.rows(split="train", n=700, seed=seed)}
    assert not train & {repr(row) for row in task.rows(split="test", n=300, seed=0)}


@pytest.mark.parametrize("task, first", [(arithmetic, "question"), (headlines, "article"), (restaurants, "meaning")])
def test_no_test_input_occurs_in_training(task, first):
    train = {row[first] for seed in (0, 1) for row in task.rows(split="train", n=700, seed=seed)}
    assert not train & {row[first] for row in task.rows(split="test", n=300, seed=0)}


def test_no_test_question_of_the_chat_is_answered_in_training():
    def questions(split):
        rows = chat.rows(split=split, n=400, seed=0)
        # A follow-up names its arguments and not its topic, so only opening questions can be compared as text.
        return {next(m["content"] for m in row["messages"] if m["role"] == "user") for row in rows}

    assert not questions("train") & questions("test")


@pytest.mark.parametrize("split", SPLITS)
def test_answers_of_word_problems_are_right(split):
    for problem in arithmetic.problems(split=split, n=400, seed=0):
        *steps, last = problem.answer.split("\n")
        known = set(re.findall(r"\d+", problem.question)) | {"2"}
        for step in steps:
            left, operator, right, result = EQUATION.search(step).groups()
            assert COMPUTE[operator](int(left), int(right)) == int(result) >= 0, problem
            assert {left, right} <= known, (
                f"{step} uses a number that is neither asked nor computed: {problem.question}"
            )
            known.add(result)
        assert 1 <= len(steps) <= 3
        assert last == f"#### {result}"


def test_word_problems_have_at_least_40_question_forms():
    questions = [question for kind in KINDS.values() for question in kind.questions]
    assert len(set(questions)) == len(questions) >= 40


def test_facts_of_word_problems_belong_to_their_split():
    for split in SPLITS:
        for problem in arithmetic.problems(split=split, n=200, seed=1):
            assert draw.split_of("arithmetic", *arithmetic.facts(problem)) == split


def test_articles_have_three_to_five_sentences_and_a_headline():
    for row in headlines.rows(split="train", n=300, seed=0):
        assert 3 <= row["article"].count(". ") + 1 <= 5, row
        assert row["headline"] and not row["headline"].endswith(".")


@pytest.mark.parametrize("name", EVENTS)
def test_headlines_say_only_what_every_first_sentence_says_or_the_town_knows(name):
    event = EVENTS[name]
    always = frozenset.intersection(*(lead.holes for lead in event.leads))
    for headline in event.headlines:
        assert headline.holes <= always, f"{headline.text!r} needs {set(headline.holes - always)}"


@pytest.mark.parametrize("split", SPLITS)
def test_chats_have_one_to_three_turns_in_order(split):
    for row in chat.rows(split=split, n=300, seed=0):
        roles = [message["role"] for message in row["messages"]]
        if roles[0] == "system":
            roles.pop(0)
        assert roles in (["user", "assistant"] * turns for turns in (1, 2, 3))
        assert all(message["content"] for message in row["messages"])
