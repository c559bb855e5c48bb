"""A price and a power as users write them, and what they make of seconds."""

import pytest

from tunelab.config.decision import Decision
from tunelab.config.price import as_overrides, cost, price_of, watt_hours, watts_of
from tunelab.config.read import read_study
from tunelab.errors import ConfigError

STUDY = {"name": "s", "model": "tunelab/tiny", "tasks": ["restaurants"], "methods": ["lora"]}


@pytest.mark.parametrize(
    ("given", "price"),
    [
        (2.5, (2.5, "")), (3, (3.0, "")), ("2.5", (2.5, "")), ("2.5/h", (2.5, "")), ("2.5EUR/h", (2.5, "EUR")),
        (" 2.5 EUR / h ", (2.5, "EUR")), ("0.35$/hour", (0.35, "$")), (".5£", (0.5, "£")),
        ("1000 JPY", (1000.0, "JPY")),
    ],
)  # fmt: skip
def test_a_price_is_an_amount_with_a_currency_or_without(given, price):
    assert price_of(given) == price


@pytest.mark.parametrize(
    "given", ["", "h", "EUR", "2.5EUR/day", "2,5/h", "-1", "0", 0, -2.5, True, None, "nan", float("inf"), "1/h/h", "2h"]
)
def test_what_is_no_price_is_refused_with_the_rule(given):
    with pytest.raises(ValueError, match="what an hour of one device costs"):
        price_of(given)


def test_a_power_is_watts():
    assert [watts_of(each) for each in (350, 72.5, "350", "350W", " 350 w ")] == [350, 72.5, 350, 350, 350]
    for wrong in ("0", "0.35kW", "W", -5, True, "inf"):
        with pytest.raises(ValueError, match="watts"):
            watts_of(wrong)


def test_money_and_energy_follow_device_hours():
    assert (cost(5400, 2.0), watt_hours(5400, 300.0)) == (3.0, 450.0)


def test_a_study_keeps_the_price_as_it_was_written():
    decision = Decision.model_validate({"price_per_hour": "2.5EUR/h", "power_watts": "350W"})
    assert decision.model_dump(exclude_none=True)["price_per_hour"] == "2.5EUR/h"
    assert (decision.price, decision.power_watts) == ((2.5, "EUR"), 350.0)
    assert Decision.model_validate({"price_per_hour": 3}).price_per_hour == 3.0
    assert (Decision().price, Decision().power_watts) == (None, None)


def test_a_wrong_price_of_a_study_is_one_line():
    with pytest.raises(ConfigError) as error:
        read_study(given={**STUDY, "decision": {"price_per_hour": "2.5 a day", "cost": "price"}})
    assert len(str(error.value).splitlines()) == 1
    assert "decision.price_per_hour" in str(error.value) and "2.5EUR/h" in str(error.value)


def test_options_are_a_studys_keys():
    overrides = as_overrides("2.5 €/h", "350")
    decision = read_study(given=STUDY, overrides=overrides).config.decision
    assert (decision.price, decision.power_watts) == ((2.5, "€"), 350.0)
    assert as_overrides(None, None) == []


def test_wrong_options_are_a_line_each():
    with pytest.raises(ConfigError) as error:
        as_overrides("cheap", "hot")
    assert [line.partition(";")[0] for line in str(error.value).splitlines()] == [
        "--price: got 'cheap'", "--power: got 'hot'",
    ]  # fmt: skip
