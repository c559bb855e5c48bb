"""What few seeds borrow from other methods, and which methods sometimes fail."""

import pytest

from tunelab.significance.seeds import Scatter, seed_noise, set_apart, unsteady


def scatters(**scores):
    return {label: Scatter(tuple(map(float, values)), 0.0) for label, values in scores.items()}


def test_a_seed_that_lost_more_than_half_of_the_gain_has_failed():
    known = scatters(full=[0.70, 0.71, 0.69], rosa=[0.70, 0.02, 0.71])
    assert unsteady(known, base=0.0, sign=1) == ("rosa",)
    steady = scatters(full=[0.70, 0.71, 0.69], rosa=[0.70, 0.40, 0.71])
    assert "rosa" not in unsteady(steady | scatters(full=[0.70, 0.60, 0.69]), base=0.0, sign=1)


def test_of_a_loss_lower_is_a_gain():
    known = scatters(full=[1.0, 1.1, 1.05], rosa=[1.0, 3.9, 1.1])
    assert unsteady(known, base=4.0, sign=-1) == ("rosa",)


def test_of_a_loss_the_seed_that_gained_less_than_half_has_failed_also_alone():
    """From a base of 4: gains of 3 and 1, and of 3 and 1.6."""
    sure = 0.001**2
    assert unsteady({"full": Scatter((1.0, 3.0), sure)}, base=4.0, sign=-1) == ("full",)
    assert unsteady({"full": Scatter((1.0, 2.4), sure)}, base=4.0, sign=-1) == ()
    assert unsteady({"full": Scatter((5.0, 7.0), sure)}, base=4.0, sign=-1) == (), "neither gains anything"


def test_of_a_loss_the_lowest_mean_is_the_best_and_no_exception():
    steady = {"full": [0.70, 0.72, 0.71], "lora": [0.69, 0.71, 0.70], "galore": [0.68, 0.70, 0.69]}
    best, worst = scatters(**steady, rosa=[0.1, 1.2, 0.1]), scatters(**steady, rosa=[0.7, 3.9, 0.7])
    assert set_apart(best, ("rosa",), sign=-1) == () and set_apart(worst, ("rosa",), sign=-1) == ("rosa",)
    assert set_apart(best, ("rosa",), sign=1) == ("rosa",) and set_apart(worst, ("rosa",), sign=1) == ()


def test_seeds_that_the_choice_of_examples_explains_have_not_failed():
    known = {"full": Scatter((0.10, 0.04), 0.03**2)}
    assert unsteady(known, base=0.0, sign=1) == ()
    assert unsteady({"full": Scatter((0.10, 0.04), 0.001**2)}, base=0.0, sign=1) == ("full",)


def test_a_variance_far_above_the_others_is_unsteady_without_a_base():
    calm = {f"method {number}": [0.70, 0.71, 0.69] for number in range(5)}
    known = scatters(**calm, loud=[0.70, 0.71, 0.45])
    assert unsteady(known, base=None, sign=1) == ("loud",)
    assert unsteady(scatters(**calm), base=None, sign=1) == ()


def test_an_exception_is_set_apart_and_lends_nothing():
    three = {"full": [0.70, 0.72, 0.71], "lora": [0.69, 0.71, 0.70], "rosa": [0.70, 0.02, 0.71]}
    assert set_apart(scatters(**three), ("rosa",), sign=1) == (), "one of three is not the exception"
    known = scatters(**three, galore=[0.68, 0.70, 0.69])
    apart = set_apart(known, ("rosa",), sign=1)
    noises = seed_noise(known, ("rosa",), apart)
    assert apart == ("rosa",)
    assert noises["full"].variance == pytest.approx(0.0001) and noises["full"].freedom == pytest.approx(6.0)
    assert noises["rosa"].freedom == 2 and not noises["rosa"].borrowed


@pytest.mark.parametrize(
    "scores",
    [
        {"full": [0.70, 0.72], "rosa": [0.70, 0.02]},  # two seeds say too little
        {"full": [0.30, 0.31, 0.32], "rosa": [0.90, 0.02, 0.91]},  # the best mean
    ],
)
def test_a_failure_of_few_seeds_or_of_the_best_counts_for_all(scores):
    known = scatters(**scores)
    apart = set_apart(known, ("rosa",), sign=1)
    noises = seed_noise(known, ("rosa",), apart)
    assert apart == () and noises["full"].variance > 0.05
    assert noises["rosa"].freedom == len(scores["rosa"]) - 1, "it borrows nothing"


def test_where_many_fail_none_is_an_exception():
    known = scatters(full=[0.70, 0.72, 0.71], lora=[0.69, 0.01, 0.70], rosa=[0.70, 0.02, 0.71])
    assert set_apart(known, ("lora", "rosa"), sign=1) == ()


def test_degrees_of_freedom_are_satterthwaites():
    alike = seed_noise(scatters(full=[0.0, 1.0], lora=[0.0, 1.0], rosa=[0.0, 1.0]), (), ())
    assert alike["full"].freedom == pytest.approx(3.0)
    # (v1 + v2)^2 / (v1^2 + v2^2) with v = 0.5 and 4.5
    apart = seed_noise(scatters(full=[0.0, 1.0], lora=[0.0, 3.0]), (), ())
    assert apart["full"].freedom == pytest.approx(25 / 20.5)
    assert apart["full"].variance == pytest.approx(2.5) and apart["lora"].variance == pytest.approx(4.5)
