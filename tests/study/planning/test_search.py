"""What a search tries: rungs of `auto`, and what the study file may say."""

import pytest

from study.planning.test_plan import HEAD, plan, problems
from tunelab.config.read import dump, read_study
from tunelab.study.planning.plan import make_plan
from tunelab.study.planning.preview import preview
from tunelab.study.planning.search import rung

EVERYTHING = "[full, lora, dora, qlora, rosa, galore, q_galore, apollo, lisa]"


@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        (2e-5, [2e-6, 6e-6, 2e-5, 6e-5, 2e-4]),
        (1e-4, [1e-5, 3e-5, 1e-4, 3e-4, 1e-3]),
        (2e-4, [2e-5, 6e-5, 2e-4, 6e-4, 2e-3]),
        (5e-4, [5e-5, 1.6e-4, 5e-4, 1.6e-3, 5e-3]),
        (4.7e-5, [4.7e-6, 1.5e-5, 4.7e-5, 1.5e-4, 4.7e-4]),
    ],
)
def test_rungs_are_half_decades_in_numbers_that_can_be_copied(middle, expected):
    assert [rung(middle, number) for number in (-2, -1, 0, 1, 2)] == expected


def test_auto_is_the_same_ladder_around_each_methods_documented_rate():
    made = plan(EVERYTHING.replace(",", ": {learning_rate: auto},").replace("]", ": {learning_rate: auto}]"))
    rates = {method.label: method.learning_rates for method in made.methods}
    assert rates["full"] == rates["lisa"] == (2e-5, 6e-6, 6e-5)
    for adapter in ("lora", "dora", "qlora", "rosa"):
        assert rates[adapter] == (2e-4, 6e-5, 6e-4), "ten times those of full"
    assert rates["galore"] == rates["q_galore"] == rates["apollo"] == (1e-4, 3e-5, 3e-4)
    single = plan(EVERYTHING)
    assert [method.learning_rates[0] for method in single.methods] == [each[0] for each in rates.values()]


def test_the_middle_follows_what_the_literature_agrees_on():
    made = plan("[full: {optimizer: adafactor, learning_rate: auto}, lora: {rank: 64, learning_rate: auto}]")
    assert made.methods[0].learning_rates == (2e-3, 6e-4, 6e-3), "relative to the weights' size: 100 times AdamW's"
    assert made.methods[1].learning_rates == (2e-4, 6e-5, 6e-4), "alpha / rank: the same at every rank"
    parts = "sequential: {learning_rate: auto, parts: [full: {learning_rate: 1e-3}, lora: {learning_rate: 5e-3}]}"
    sequential = plan(f"[{parts}]").methods[0]
    assert sequential.learning_rates == (1e-3, 3e-4, 3e-3)
    assert [each.method.rate_in(1) for each in sequential.candidates] == [5.0] * 3


def test_auto_is_read_back_from_the_resolved_study_and_stands_in_labels_that_need_it():
    made = plan("[lora: {learning_rate: auto}, lora: {learning_rate: 1e-3}]")
    assert [method.label for method in made.methods] == ["lora learning_rate=auto", "lora learning_rate=0.001"]
    again = make_plan(read_study(text=dump(made.study)))
    assert [method.candidates for method in again.methods] == [method.candidates for method in made.methods]
    notes = preview(made).notes
    assert any("lora learning_rate=auto: auto tries about a third, once and three times" in note for note in notes)


def test_auto_in_the_wrong_place_is_told_with_the_way_out():
    said = problems(HEAD + "methods:\n  - full: {learning_rate: atuo}\n")
    assert (
        "study text:5: methods.0.full.learning_rate: must be a finite number above 0, or a list of them or auto" in said
    )
    said = problems(HEAD + "methods:\n  - sequential: {parts: [full, lora: {learning_rate: auto}]}\n")
    assert "a part has one learning rate; auto belongs to the whole method" in said
    said = problems(HEAD + "methods: [full, lora, merge: {of: [full, lora], learning_rate: auto}]\n")
    assert "it trains nothing" in said


SEARCH = "search: {candidates: 6}"


def settings_of(methods: str, rest: str = SEARCH) -> list[dict]:
    (method,) = plan(methods, rest=rest).methods
    return [{"learning_rate": each.method.learning_rate, **each.setting} for each in method.candidates]


def test_lists_in_any_field_are_a_search_and_its_label_names_none_of_them():
    made = plan("[lora: {rank: [4, 8], alpha: [8, 16]}, full]", rest=SEARCH)
    assert [method.label for method in made.methods] == ["lora", "full"]
    assert settings_of("[lora: {rank: [4, 8], alpha: [8, 16]}]") == [
        {"learning_rate": 2e-4, "rank": rank, "alpha": alpha} for rank in (4, 8) for alpha in (8, 16)
    ]
    runs = [(run.setting, run.trainable_parameters) for run in preview(made).runs if run.method == "lora"]
    assert [setting for setting, _ in runs[:4]] == [
        {"rank": rank, "alpha": alpha} for rank in "48" for alpha in ("8", "16")
    ]
    assert runs[0][1] * 2 == runs[2][1], "each candidate is counted by itself"
    assert runs[4] == ({}, None), "what the second seed will have is not known"


def test_rows_that_differ_in_what_is_searched_have_labels_that_say_so():
    made = plan("[lora: {rank: [4, 8]}, lora: {rank: 16}]", rest=SEARCH)
    assert [method.label for method in made.methods] == ["lora r=4+8", "lora r=16"]
    made = plan("[lora: {targets: [[q_proj], [v_proj]]}, lora: {targets: [q_proj, v_proj]}]", rest=SEARCH)
    labels = [method.label for method in made.methods]
    assert labels == ["lora targets=['q_proj']+['v_proj']", "lora targets=q_proj+v_proj"]
    vera = "peft_any: {type: VERA, target_modules: [%s]}"  # a list of PEFT's own is shown as it always was
    made = plan(f"[{vera % 'q_proj'}, {vera % 'v_proj'}]")
    assert [method.label for method in made.methods] == [f"peft_any target_modules=['{name}_proj']" for name in "qv"]


def test_a_field_that_takes_a_list_keeps_it_and_a_list_of_lists_is_a_search():
    assert settings_of("[lora: {targets: [q_proj, v_proj]}]") == [{"learning_rate": 2e-4}]
    targets = [["q_proj"], ["q_proj", "v_proj"], "all-linear"]
    found = settings_of("[lora: {targets: [[q_proj], [q_proj, v_proj], all-linear]}]")
    assert [each["targets"] for each in found] == targets
    assert [each["r"] for each in settings_of("[peft_any: {type: VERA, r: [4, 8], target_modules: [q_proj]}]")] == [
        4,
        8,
    ]


def test_a_grid_above_the_budget_is_cut_by_the_rule_and_that_is_said():
    found = settings_of("[lora: {rank: [2, 4, 8], learning_rate: auto}]", rest="search: {candidates: 3}")
    assert found == [
        {"learning_rate": 2e-4, "rank": 2},
        {"learning_rate": 6e-5, "rank": 4},
        {"learning_rate": 6e-4, "rank": 8},
    ], "every value once"
    made = plan("[lora: {rank: [2, 4, 8], learning_rate: auto}]", rest="search: {candidates: 3}")
    (said,) = [note for note in preview(made).notes if "left out" in note]
    assert "lora: 3 of 9 combinations of learning_rate x rank are tried" in said and "6 are left out" in said
    assert (
        len(settings_of("[lora: {rank: [2, 4, 8], learning_rate: [1e-3, 1e-4]}]", rest="search: {candidates: 9}")) == 6
    )


def test_the_ladder_stands_around_the_rate_of_each_combination():
    found = settings_of("[full: {optimizer: [adamw, adafactor], learning_rate: auto}]")
    assert {(each["optimizer"], each["learning_rate"]) for each in found} == {
        ("adamw", 2e-5), ("adamw", 6e-6), ("adamw", 6e-5),
        ("adafactor", 2e-3), ("adafactor", 6e-4), ("adafactor", 6e-3),
    }  # fmt: skip


def test_a_list_without_search_and_other_slips_are_told_with_both_ways_out():
    said = problems(HEAD + "methods:\n  - lora: {rank: [4, 8]}\n")
    assert "study text:5: methods.0.lora.rank: is one value, got the list [4, 8]; give search: {candidates: N}" in said
    assert "write an entry for each value" in said
    assert "one value twice" in problems(HEAD + "methods:\n  - lora: {rank: [4, 4]}\n" + SEARCH)
    assert "must be a whole number; got 'x'" in problems(HEAD + "methods:\n  - lora: {rank: [4, x]}\n" + SEARCH)
    assert "rank: must be" in problems(HEAD + "methods:\n  - lora: {rank: []}\n" + SEARCH)
    assert "search.candidates: must be at least 2" in problems(HEAD + "methods: [lora]\nsearch: {candidates: 1}\n")
    part = "methods:\n  - sequential: {parts: [full, lora: {rank: [4, 8]}]}\n"
    assert "a part has one value of each field" in problems(HEAD + part + SEARCH)
    merged = "methods: [full, lora, merge: {of: [full, lora], how: [average, ties]}]\n"
    assert "it trains nothing, so nothing is searched" in problems(HEAD + merged + SEARCH)


def test_lists_are_read_back_from_the_resolved_study():
    made = plan("[lora: {rank: [4, 8], learning_rate: auto}]", rest=SEARCH)
    again = make_plan(read_study(text=dump(made.study)))
    assert [method.candidates for method in again.methods] == [method.candidates for method in made.methods]
    assert plan("[lora: {rank: [8]}]", rest=SEARCH).methods[0].method == plan("[lora]").methods[0].method
