"""`--set key=value`."""

import pytest

from tunelab.config.read import read_study
from tunelab.errors import ConfigError

STUDY = "model: tunelab/tiny\ntasks: [restaurants]\nmethods:\n  - lora\n  - full:\n"


def config(*overrides: str):
    return read_study(text=STUDY, overrides=overrides).config


def problems(*overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as error:
        config(*overrides)
    return error.value.problems


def test_short_forms_can_be_set_into():
    changed = config(
        "tasks.0.path=X", "methods.0.lora.rank=4", "methods.1.full.learning_rate=1e-4", "model.revision=v1"
    )
    assert changed.tasks == [{"name": "restaurants", "path": "X"}]
    assert changed.methods == [{"lora": {"rank": 4}}, {"full": {"learning_rate": 1e-4}}]
    assert (changed.model.name, changed.model.revision) == ("tunelab/tiny", "v1")


def test_values_are_yaml():
    changed = config("seeds=[5, 6]", "budget={steps: 9}", "optimizer.clip=null", "tasks.0.prompt='a: {b}'")
    assert changed.seeds == (5, 6)
    assert changed.budget.steps == 9
    assert changed.optimizer.clip is None
    assert changed.tasks[0]["prompt"] == "a: {b}"


def test_whole_lists_may_use_short_forms_and_later_ones_see_them():
    changed = config("methods=[full, rosa]", "methods.1.rosa.rank=2", "tasks=[a]")
    assert changed.methods == [{"full": {}}, {"rosa": {"rank": 2}}]
    assert changed.tasks == [{"name": "a"}]


def test_the_last_of_equal_keys_wins():
    assert config("batch.examples=3", "batch.examples=4").batch.examples == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch.exampels=3", "unknown key; did you mean 'examples'? Keys: examples, max_tokens, max_length"),
        ("batch.examples=x", "must be a whole number; got 'x'"),
        (
            "batch={exampels: 3}",
            "batch.exampels: unknown key; did you mean 'examples'? Keys: examples, max_tokens, max_length",
        ),
        ("methods.2.lora.rank=4", "methods has 2 entries; no number 2; count from 0: 0 to 1"),
        ("methods.lora.rank=4", "methods has 2 entries; 'lora' is not a number; count from 0: 0 to 1"),
        ("methods.0.qlora.rank=4", "methods.0 is 'lora'; its options are methods.0.lora.OPTION"),
        ("tasks.-1.path=4", "tasks has 1 entry; '-1' is not a number; count from 0: 0 to 0"),
        ("model.name.x=4", "model.name is 'tunelab/tiny' and has no keys; set model.name itself"),
        ("batch.examples", "must be key=value, as in --set batch.examples=8"),
        ("=3", "must be key=value, as in --set batch.examples=8"),
        ("batch..examples=3", "an empty part in the key 'batch..examples'; parts are joined by single dots"),
        ("seeds=[1", "the value is not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("budget.epochs=.nan", "must be a finite number; got nan"),
        ("batch={examples: 1, examples: 2}", "examples: given twice, at line 1 and line 1; keep one"),
    ],
)
def test_problems_name_the_option(override, message):
    assert problems(override) == (f"--set {override}: {message}",)


def test_problems_of_file_and_options_come_together():
    with pytest.raises(ConfigError) as error:
        read_study(text=STUDY + "seeds: 1\n", overrides=["methods.7=full", "batch.examples=x"])
    assert [problem.split(":")[0] for problem in error.value.problems] == [
        "--set methods.7=full",
        "study text",
        "--set batch.examples=x",
    ]
