"""Asking providers which models they serve, and keeping what they answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from calling import USER
from emulators.loopback import LoopbackServer, Reply, Request

from router import HttpRequest, Model, ModelNotFound, Router, WireProvider, error_for_status
from router.refresh import ModelCache


class Listing(WireProvider):
    """Has a list of models at a URL."""

    name = "listing"
    models = (Model(id="first", context_window=7),)
    open_models = True

    def __init__(self, url: str) -> None:
        self._url = url

    def create_completion(self, model: str, messages: list[Any], stream: bool) -> Any:
        yield "ok"

    def list_models(self) -> Any:
        response = yield HttpRequest("GET", self._url)
        if response.status >= 400:
            raise error_for_status(response.status, response.excerpt)
        return [Model(id=name) for name in response.json(list[str])]


class Server(LoopbackServer):
    """Has the list at `/models`; everything else is broken."""

    def handle(self, request: Request) -> Reply:
        return Reply.json(200 if request.path == "/models" else 500, ["first", "second"])


@pytest.fixture
def url() -> Iterator[str]:
    with Server() as server:
        yield server.url


def ids(router: Router) -> list[str]:
    return [model.id for model in router.models("listing")]


def test_what_a_provider_answers_joins_its_models_and_is_kept(url: str, tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "made" / "when needed")
    with Router([Listing(f"{url}/models")], allow=[], model_cache=cache) as router:
        assert ids(router) == ["first"]
        [refreshed] = router.refresh_models("listing")
        assert refreshed.error is None
        assert ids(router) == ["first", "second"]
        assert router.models("listing")[0].context_window == 7
    with Router([Listing("http://127.0.0.1:9/")], allow=[], model_cache=cache) as later:
        assert ids(later) == ["first", "second"]
    with Router([Listing("http://127.0.0.1:9/")], allow=[]) as without:
        assert ids(without) == ["first"]


def test_what_a_provider_answers_joins_its_models_where_nothing_is_kept(url: str) -> None:
    """It was forgotten at once, and its names meant nothing."""
    with Router([Listing(f"{url}/models")], allow=[]) as router:
        router.refresh_models("listing")
        assert ids(router) == ["first", "second"]
        assert router.create_completion("second", USER).target == "listing/second"


@pytest.mark.parametrize("path", ["/broken", None], ids=["status", "connection"])
def test_a_provider_that_cannot_be_asked_is_told(
    url: str, path: str | None, tmp_path: Path
) -> None:
    cache = ModelCache(tmp_path)
    where = "http://127.0.0.1:9/models" if path is None else url + path
    with Router([Listing(where)], allow=[], model_cache=cache) as router:
        [refreshed] = router.refresh_models()
        assert refreshed.error is not None
        assert refreshed.error.provider == "listing"
        assert refreshed.models == ()
    assert cache.read("listing") == ()


def test_a_provider_without_a_list_says_so_when_it_is_asked_for() -> None:
    class Silent(Listing):
        list_models = None  # type: ignore[assignment]  # as the base has it

    with Router([Silent("")], allow=[]) as router:
        assert router.refresh_models() == []
        [refreshed] = router.refresh_models("listing")
        assert "no list of models" in str(refreshed.error)
        with pytest.raises(ModelNotFound):
            router.refresh_models("unheard-of")


def test_a_broken_file_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "listing.json").write_text("{", encoding="utf-8")
    assert ModelCache(tmp_path).read("listing") == ()
    assert ModelCache.default({"XDG_CACHE_HOME": str(tmp_path)}).read("listing") == ()
