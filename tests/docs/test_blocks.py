"""Everything in a fence is checked: studies are planned, commands are parsed, Python is bound and, if quick, executed.

A language that nothing here checks is a failure, so that a page cannot bring one unseen.
"""

import ast
import inspect
import json
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import typer.main

import tunelab
from docs.pages import BLOCKS, ROOT, WRITTEN, Block, of, prose
from tunelab import catalogue
from tunelab.cli import app
from tunelab.config.read import read_study
from tunelab.config.study_yaml import parse_yaml
from tunelab.study.planning.plan import make_plan

CHECKED = {"yaml", "console", "python", "toml", "json", "jsonl", "text", ""}
CHECKED_ELSEWHERE = {("docs/slurm.md", "bash"): "tests/launch/test_slurm_page.py"}


def test_every_language_is_checked_somewhere():
    others = {str(block): block.language for block in BLOCKS if block.language not in CHECKED}
    for block in BLOCKS:
        test = CHECKED_ELSEWHERE.get((block.page, block.language))
        if test is not None and (ROOT / test).exists():
            others.pop(str(block))
    assert others == {}


# Studies

REST = {"model": "tunelab/tiny", "tasks": ["restaurants"], "methods": ["full"]}
"""What a part of a study on a page leaves out."""
FILES = {
    "data/train.jsonl": '{"question": "Q N", "answer": "A"}',
    "data/test.jsonl": '{"question": "P N", "answer": "B"}',
    "pairs.jsonl": '{"question": "Q N", "answer": "A"}',
    "letters.txt": "Dear Ada, this is letter N.",
    "chats.jsonl": '{"conversations": [{"from": "human", "value": "Hi N"}, {"from": "gpt", "value": "Hello"}]}',
    "data/tulu/train.jsonl": '{"dataset": "x", "id": "N", "messages": '
    '[{"role": "user", "content": "Hi N"}, {"role": "assistant", "content": "Hello"}]}',
}
"""Files that the pages' studies name, and a line of each; N is its number."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, line in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("".join(re.sub(r"\bN\b", str(number), line) + "\n" for number in range(30)))
    return tmp_path


def alternatives(text: str) -> list[str]:
    """Texts of studies: a page that writes a top-level key twice shows two ways to write one study."""
    entries = [entry for entry in re.split(r"^(?=[^\s#])", text, flags=re.MULTILINE) if not entry.startswith("#")]
    entries = [entry for entry in entries if entry.strip()]
    keys = [entry.partition(":")[0] for entry in entries]
    most = max(map(keys.count, keys))
    chosen = []
    for number in range(most):
        last = {}
        for key, entry in zip(keys, entries, strict=True):
            last.setdefault(key, []).append(entry)
        chosen.append("".join(each[min(number, len(each) - 1)] for each in last.values()))
    return chosen


def test_a_key_that_stands_twice_is_two_studies():
    text = "a: 1\n# or\nb: {c: 2}   # this\nb:\n  - d\n\n  - e\n"
    assert alternatives(text) == ["a: 1\n# or\nb: {c: 2}   # this\n", "a: 1\n# or\nb:\n  - d\n\n  - e\n"]
    assert alternatives("# first\na: 1\nb: 2") == ["a: 1\nb: 2"]


@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_studies_and_parts_of_studies_are_planned(block, folder):
    for text in alternatives(block.text):
        given = parse_yaml(text).value
        missing = "".join(f"{key}: {json.dumps(value)}\n" for key, value in REST.items() if key not in given)
        make_plan(read_study(text=missing + text, base_folder=folder))


# Commands

VERBS = typer.main.get_command(app).commands
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
EXTRAS = set(re.findall(r"^([a-z-]+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
OTHERS = {"cp", "cd", "git", "rm", "export"}
"""First words of commands that are not ours."""


def commands(block: Block) -> list[str]:
    """Lines of a console; with prompts in it, those alone: the others are what was printed."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    elif block.language in ("", "text"):
        lines = [line for line in lines if re.match(r"(\.venv/bin/)?tunelab [a-z-]", line)]
    return [part for line in lines for part in re.split(r" && | \| ", line) if shlex.split(part, comments=True)]


def check(command: str) -> None:
    """Raises where the command is not one, or has options that there are not."""
    words = shlex.split(command, comments=True)
    while re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words = words[1:]
    program, *rest = words
    program = program.removeprefix(".venv/bin/")
    match program:
        case "tunelab" if rest[0].startswith("-"):
            assert rest in (["--version"], ["--help"], ["--install-completion"], ["--show-completion"]), command
        case "tunelab":
            assert rest[0] in VERBS, f"{command}: there is no verb {rest[0]}"
            VERBS[rest[0]].make_context(rest[0], rest[1:])  # raises what a terminal would show
            for given, value in pairwise(rest):
                if given == "--set":
                    check_override(value)
        case "make":
            assert rest[0] in TARGETS, command
        case "pip" | "python" | "python3" if program == "pip" or rest[:2] == ["-m", "pip"]:
            assert {"install", "uninstall"} & set(rest), command
            for extra in re.findall(r"\[([\w,-]+)\]", command):
                assert set(extra.split(",")) <= EXTRAS, command
        case _ if command.removeprefix("python ").startswith("llama.cpp/"):
            pass  # of a checkout that the line above makes
        case "python" | "python3" if rest[0].endswith(".py"):
            assert (ROOT / rest[0]).exists(), command
        case "python" | "python3":
            assert rest[:2] in (["-m", "venv"], ["-m", "pytest"], ["-m", "http.server"]), command
            for path in rest[2:]:
                assert not path.startswith("tests/") or (ROOT / path.partition("::")[0]).exists(), command
        case other:
            assert other in OTHERS, f"{command}: nothing checks {other}"


def check_override(text: str) -> None:
    """Its first key is one of a study; the quickstart stands in for the study that is meant."""
    key = text.partition("=")[0].split(".")[0]
    from tunelab.config.schema import StudyConfig

    assert key in StudyConfig.model_fields or key in ("path", "split"), f"--set {text}"


@pytest.mark.parametrize("block", [block for block in of("console", "", "text") if commands(block)], ids=str)
def test_commands_are_ours_and_their_options_exist(block):
    for command in commands(block):
        check(command)


@pytest.mark.parametrize(
    "wrong",
    ["tunelab fly", "tunelab run --fast", "tunelab run --cluster moon", "make nothing", "python scripts/gone.py",
     "tunelab score a", "tunelab run --set metod=1", "pip install 'tunelab[gone]'", "curl x", "python -m antigravity"],
)  # fmt: skip
def test_a_wrong_command_is_found(wrong):
    with pytest.raises(Exception, match=r".") as found:
        check(wrong)
    assert not isinstance(found.value, (TypeError, KeyError, IndexError))


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_commands_in_sentences_have_verbs_and_options_that_exist(page):
    for command in re.findall(r"`(?:\.venv/bin/)?tunelab ([^`]+)`", prose(page)):
        verb, *words = command.split()
        if verb.startswith("-") or verb == "VERB":
            continue
        assert verb in VERBS, f"tunelab {command}"
        options = {option for parameter in VERBS[verb].params for option in parameter.opts} | {"--help"}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options, f"tunelab {command}"
    for target in re.findall(r"`make ([a-z-]+)`", prose(page)):
        assert target in TARGETS, f"make {target}"
    for path in re.findall(r"`(?:python -m pytest|python) ((?:tests|scripts|benchmarks)/[\w/.-]+)[^`]*`", prose(page)):
        assert (ROOT / path).exists(), path
    for extra in re.findall(r"tunelab\[([\w,-]+)\]", prose(page)):
        assert set(extra.split(",")) <= EXTRAS | {"NAME"}, extra


# Python

QUICK = {"plan", "load_study", "score"}
"""What a block may call to be executed here: no training, no network."""


def calls(tree: ast.Module) -> list[ast.Call]:
    """Those of `tunelab.NAME(...)`."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "tunelab"
    ]


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_python_compiles_and_calls_what_there_is(block, tmp_path, monkeypatch):
    tree = ast.parse(block.text)
    for call in calls(tree):
        function = getattr(tunelab, call.func.attr)
        if not any(isinstance(given, ast.Starred) for given in call.args) and all(k.arg for k in call.keywords):
            inspect.signature(function).bind(*call.args, **{keyword.arg: None for keyword in call.keywords})
    called = {call.func.attr for call in calls(tree)}
    if called and called <= QUICK and block.page != "README.md":  # tests/test_readme.py executes that
        monkeypatch.chdir(tmp_path)
        exec(compile(tree, str(block), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("block", of("toml"), ids=str)
def test_entry_points_are_in_groups_that_are_read(block):
    groups = re.findall(r'entry-points\."([\w.]+)"', block.text)
    assert groups and set(groups) <= {f"tunelab.{kind}" for kind in catalogue.KINDS}


def test_json_is_json():
    for block in [block for block in BLOCKS if block.language in ("json", "jsonl")]:
        for part in [block.text] if block.language == "json" else block.text.splitlines():
            json.loads(part)
