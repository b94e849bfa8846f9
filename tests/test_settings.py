from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from router import ConfigError, Secret
from router.settings import check_settings

CANARY = "sk-canary-77"


class Anchor:
    def __init__(
        self,
        weight: Annotated[float, Meta(gt=0)],
        *,
        key: str | Secret | None = None,
        chain: Literal["iron", "rope"] = "iron",
        names: list[str] | None = None,
    ) -> None:
        pass


class Row:
    """Makes a provider by being called, as the rows of compatible services do."""

    def __call__(self, base_url: str | None = None) -> None:
        pass


class Bare:
    pass


def anything(weight: float = 1.0, **others: Any) -> None:
    pass


def variadic(*parts: Any, weight: float = 1.0) -> None:
    pass


def unresolvable(weight: "Nowhere" = 1) -> None:  # type: ignore[name-defined]  # noqa: F821  # on purpose
    pass


@pytest.mark.parametrize(
    ("factory", "settings"),
    [
        (Anchor, {"weight": 1}),
        (Anchor, {"weight": 1.5, "key": CANARY, "chain": "rope", "names": ["a"]}),
        (Anchor, {"weight": 1.5, "key": Secret(CANARY), "names": None}),
        (Row(), {"base_url": "http://127.0.0.1"}),
        (Row(), {"base_url": None}),
        (Bare, {}),
        (anything, {"weight": 2, "colour": "red"}),
        (variadic, {"weight": 2}),
        (unresolvable, {"weight": "heavy"}),
        (None, {}),
    ],
)
def test_settings_that_fit_pass(factory: Any, settings: dict[str, Any]) -> None:
    check_settings(factory, settings, "anchor")


@pytest.mark.parametrize(
    ("factory", "settings", "found"),
    [
        (Anchor, {}, {"weight": "anchor needs this setting"}),
        (
            Anchor,
            {"weight": 0},
            {"weight": "expects float (gt=0), not int (Expected `float` > 0.0)"},
        ),
        (
            Anchor,
            {"wieght": 1, "names": [3], "key": 7},
            {
                "wieght": "no such setting: did you mean weight? "
                "anchor has weight, key, chain, names",
                "weight": "anchor needs this setting",
                "key": "expects str | Secret, not int",
                "names": "is wrong inside, at names[0] (Expected `str`, got `int`)",
            },
        ),
        (
            Row(),
            {"url": "x"},
            {"url": "no such setting: did you mean base_url? anchor has base_url"},
        ),
        (Row(), {"base_url": 3}, {"base_url": "expects str, not int (Expected `str`, got `int`)"}),
        (Bare, {"weight": 1}, {"weight": "no such setting: anchor has none"}),
        (
            anything,
            {"weight": "x"},
            {"weight": "expects float, not str (Expected `float`, got `str`)"},
        ),
        (None, {"weight": 1}, {"weight": "no such setting: anchor has none"}),
    ],
)
def test_each_setting_that_does_not_fit_is_told(
    factory: Any, settings: dict[str, Any], found: dict[str, str]
) -> None:
    with pytest.raises(ConfigError, match=r"^settings of anchor: ") as caught:
        check_settings(factory, settings, "anchor")
    assert {fault.key: fault.problem for fault in caught.value.faults} == found


def test_a_setting_s_value_is_not_told() -> None:
    with pytest.raises(ConfigError) as caught:
        check_settings(Anchor, {"weight": CANARY, CANARY[:2]: CANARY, "names": CANARY}, "anchor")
    assert CANARY not in str(caught.value)
