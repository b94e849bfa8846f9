"""What calls cost: never a guess."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from calling import USER, Caller

from router import (
    BadRequest,
    Chunk,
    Model,
    Prices,
    Router,
    StreamInterrupted,
    Target,
    Tier,
    UnsupportedParameter,
    UpstreamError,
    Usage,
    provider,
)
from router.testing.scripted import ScriptedProvider, Truncated

PRICES = Prices(input=2.0, output=10.0, cached=0.5, cache_write=2.5)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(input_tokens=1_000_000, output_tokens=0), 2.0),
        (Usage(input_tokens=0, output_tokens=1_000_000, reasoning_tokens=900_000), 10.0),
        (Usage(input_tokens=1_000_000, output_tokens=0, cached_tokens=400_000), 1.4),
        (Usage(input_tokens=1_000_000, output_tokens=0, cache_write_tokens=400_000), 2.2),
        (Usage(input_tokens=1_000, output_tokens=None), None),
        (Usage(input_tokens=1_000, output_tokens=10, audio_tokens=5), None),
        (Usage(input_tokens=1_000, output_tokens=10, priced_otherwise=True), None),
        (None, None),
    ],
)
def test_each_kind_of_token_has_its_price(usage: Usage | None, cost: float | None) -> None:
    assert PRICES.cost(usage) == (None if cost is None else pytest.approx(cost))


def test_audio_is_priced_where_none_of_it_can_have_been_cached() -> None:
    """Audio that may have been cached was charged once as either."""
    prices = Prices(input=1.0, output=10.0, cached=0.1, input_audio=5.0)
    heard = Usage(input_tokens=1_000_000, output_tokens=0, audio_tokens=400_000)
    assert prices.cost(heard) == pytest.approx(2.6)
    assert prices.cost(msgspec.structs.replace(heard, cached_tokens=10)) is None


def test_a_cache_without_a_price_costs_as_input() -> None:
    prices = Prices(input=2.0, output=10.0)
    usage = Usage(input_tokens=1_000_000, output_tokens=0, cached_tokens=500_000)
    assert prices.cost(usage) == pytest.approx(2.0)


def test_a_tier_holds_for_all_tokens_of_a_longer_request() -> None:
    prices = Prices(
        input=1.0, output=10.0, cached=0.1, tiers=(Tier(above=200_000, input=2.0, output=15.0),)
    )
    assert prices.cost(Usage(input_tokens=200_000, output_tokens=0)) == pytest.approx(0.2)
    assert prices.cost(Usage(input_tokens=200_001, output_tokens=0)) == pytest.approx(0.400002)
    assert prices.at(200_001).cached == 0.1


def priced(name: str, *script: Any, prices: Prices | None = PRICES, **fields: Any) -> Any:
    return ScriptedProvider(name, *script, models=[Model(id="model", prices=prices, **fields)])


def used(tokens: int) -> Chunk:
    return Chunk(finish_reason="stop", usage=Usage(input_tokens=tokens, output_tokens=0))


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Caller:
    return Caller(request.param)


def test_attempts_and_completions_have_their_cost(call: Caller) -> None:
    result = call([priced("one", ["a", used(500_000)])], "one/model")
    assert result.completion is not None
    assert result.completion.trace.attempts[0].cost_usd == pytest.approx(1.0)
    assert result.completion.cost_usd == pytest.approx(1.0)


def test_a_failed_attempt_that_cost_nothing_leaves_the_cost_known(call: Caller) -> None:
    first = priced("first", [UpstreamError("broken")])
    result = call([first, priced("second", ["a", used(500_000)])], ["first/model", "second/model"])
    assert result.completion is not None
    assert result.completion.cost_usd == pytest.approx(1.0)


def test_a_failed_attempt_that_may_have_cost_makes_the_cost_unknown(call: Caller) -> None:
    first = priced("first", [UpstreamError("broken", possibly_billed=True)])
    result = call([first, priced("second", ["a", used(500_000)])], ["first/model", "second/model"])
    assert result.completion is not None
    assert result.completion.cost_usd is None
    assert result.completion.trace.attempts[1].cost_usd == pytest.approx(1.0)


def test_an_unknown_price_is_no_cost(call: Caller) -> None:
    result = call([priced("one", ["a", used(10)], prices=None)], "one/model")
    assert result.completion is not None
    assert result.completion.cost_usd is None


def test_max_cost_passes_over_what_may_cost_more(call: Caller) -> None:
    dear = priced("dear", output_limit=1_000)
    cheap = priced("cheap", prices=Prices(input=0.0, output=0.1), output_limit=1_000)
    result = call([dear, cheap], ["dear/model", "cheap/model"], policy={"max_cost": 0.005})
    assert result.outcomes == [("cheap/model", "succeeded")]
    assert result.trace is not None
    assert [skipped.reason for skipped in result.trace.passed_over] == ["cost"]
    shorter = call([dear], "dear/model", policy={"max_cost": 0.005}, max_tokens=100)
    assert shorter.completion is not None


def test_what_was_left_or_broke_off_has_an_unknown_cost() -> None:
    """It was told as no cost at all, on the stream's trace and on the partial answer."""
    with Router([priced("one", ["a", "b"], ["a", Truncated])], allow=[]) as router:
        stream = router.create_completion("one/model", USER, stream=True)
        next(stream)
        stream.close()
        assert stream.trace.cost_usd is None
        with pytest.raises(StreamInterrupted) as caught:
            list(router.create_completion("one/model", USER, stream=True))
    assert caught.value.partial.cost_usd is None


def test_max_cost_counts_every_choice_and_what_describes_the_answer() -> None:
    """Five answers were counted as one, tools as nothing, and a target's own limit not at all."""
    model = Model(id="model", prices=PRICES, output_limit=1_000)

    @provider("one", models=[model])
    def one(
        model: str,
        messages: list[Any],
        stream: bool,
        *,
        max_tokens: int = 1_000,
        n: int = 1,
        tools: list[Any] | None = None,
    ) -> str:
        return "ok"

    tool = {"type": "function", "function": {"name": "look", "description": "far " * 1_000}}
    with Router([one], allow=[]) as router:
        allowed = [
            bool(router.explain(target, USER, policy={"max_cost": 0.005}, **more).targets)
            for target, more in [
                ("one/model", {"max_tokens": 400}),
                ("one/model", {"max_tokens": 400, "n": 2}),
                ("one/model", {"max_tokens": 400, "tools": [tool]}),
                ("one/model", {}),
                (Target("one", "model", {"max_tokens": 400}), {}),
            ]
        ]
    assert allowed == [True, False, False, False, True]


@pytest.mark.parametrize(
    "fields", [{"prices": None, "output_limit": 5}, {"output_limit": None}], ids=["price", "limit"]
)
def test_max_cost_passes_over_what_has_no_bound(call: Caller, fields: dict[str, Any]) -> None:
    result = call([priced("one", **fields)], "one/model", policy={"max_cost": 100.0})
    assert isinstance(result.error, BadRequest | UnsupportedParameter)


def test_a_catalogue_fills_the_gaps_of_a_model_and_adds_others() -> None:
    class Listed(ScriptedProvider):
        open_models = True

        def known_models(self) -> dict[str, Model]:
            return {
                "model": Model(id="model", context_window=7, prices=PRICES),
                "other": Model(id="other", context_window=8),
            }

    one = Listed("one", models=[Model(id="model", context_window=5)])
    with Router([one], allow=[]) as router:
        assert {model.id: model.context_window for model in router.models()} == {
            "model": 5,
            "other": 8,
        }
        assert router.create_completion("one/model", USER).cost_usd == pytest.approx(12e-6)
        assert router.create_completion("other", USER).target == "one/other"
        assert router.create_completion("one/unheard-of", USER).cost_usd is None
