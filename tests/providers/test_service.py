"""A service's address, key and refusals: the same for every wire."""

import inspect
import json
import traceback

import pytest
from emulators.chat import Played

from providers.anthropic import Anthropic
from providers.cohere import Cohere
from providers.gemini import Gemini
from providers.ollama import Ollama
from providers.openai import Row
from providers.service import Service
from router import AuthError, ConfigError, HttpRequest, HttpResponse, Message, ProtocolError, Secret

KEY = "a-key-that-nobody-may-see"
QUESTION = [Message(role="user", content="Hi")]
WIRES = [Anthropic, Gemini, Cohere, Ollama]

each = pytest.mark.parametrize("make", WIRES, ids=[wire.name for wire in WIRES])
keyed = pytest.mark.parametrize(
    "make", [wire for wire in WIRES if wire.service.needs_key], ids=lambda wire: wire.name
)


def sent(provider) -> HttpRequest:
    """What it sends first; raises what keeps it from that."""
    return next(provider.create_completion("m", QUESTION, False))


def key_of(provider) -> Secret:
    """What it sends as its key."""
    (key,) = [value for value in sent(provider).headers.values() if isinstance(value, Secret)]
    return key


def hidden(make, key) -> Secret:
    return make.service.hidden(key, "a test")


@each
def test_settings_are_what_the_host_reads(make):
    assert list(inspect.signature(make).parameters) == ["base_url", "key", "headers"]


@each
def test_base_url_comes_from_setting_environment_or_service(make, monkeypatch):
    assert sent(make(key=KEY)).url.startswith(make.service.base_url)
    monkeypatch.setenv(make.service.url_variable, "http://127.0.0.1:10/a/")
    assert sent(make(key=KEY)).url.startswith("http://127.0.0.1:10/a/")
    assert not sent(make(key=KEY)).url.startswith("http://127.0.0.1:10/a//")
    assert sent(make("http://127.0.0.1:11/", KEY)).url.startswith("http://127.0.0.1:11/")


@each
@pytest.mark.parametrize("url", ["127.0.0.1:80", "https://me:hunter2@host", "http://[hunter2"])
def test_base_url_that_is_wrong_is_refused_without_showing_it(make, url, monkeypatch):
    with pytest.raises(ConfigError, match="base_url") as caught:
        make(url)
    monkeypatch.setenv(make.service.url_variable, url)
    with pytest.raises(ConfigError, match=make.service.url_variable) as late:
        sent(make(key=KEY))
    assert make(key=KEY).missing() == late.value.message
    assert "hunter2" not in f"{caught.value}{late.value}"


@each
def test_key_comes_from_setting_or_the_first_variable_that_is_set(make, monkeypatch):
    for variable in reversed(make.service.key_variables):
        monkeypatch.setenv(variable, f"of {variable}")
        assert key_of(make()) == hidden(make, f"of {variable}")
    assert key_of(make(key="given")) == hidden(make, "given")
    assert key_of(make(key=Secret("given"))) == hidden(make, "given")


@keyed
def test_key_that_is_missing_is_named_when_a_call_starts(make, monkeypatch):
    provider, service = make(), make.service
    with pytest.raises(AuthError, match=f"^no key: set {service.key_names}$") as caught:
        sent(provider)
    assert caught.value.code == "missing_key"
    assert provider.missing() == caught.value.message
    monkeypatch.setenv(service.key_variables[-1], "set later")
    assert provider.missing() is None
    assert key_of(provider) == hidden(make, "set later")


@each
@pytest.mark.parametrize("key", ["", "line\nfeed", "schlüssel"])
def test_key_that_no_header_can_carry_is_refused_without_showing_it(make, key):
    with pytest.raises(ConfigError, match=f"the key of {make.name}") as caught:
        make(key=key)
    assert not key or key not in str(caught.value)


@each
def test_headers_of_the_settings_are_sent_beside_the_key(make):
    headers = sent(make(key=KEY, headers={"x-team": "t"})).headers
    assert headers["x-team"] == "t"
    assert hidden(make, KEY) in headers.values()


@each
@pytest.mark.parametrize("body", [b"<", json.dumps({"error": {"message": KEY}}).encode()])
def test_key_that_is_refused_is_nowhere_to_be_seen(make, body):
    """Services repeat the key, or a part of it."""
    provider = make(key=KEY)
    played = Played(provider, body, status=401, messages=QUESTION)
    assert type(played.error) is AuthError
    assert played.error.message == make.service.key_refused
    shown = [repr(played.request), played.request.url, repr(played.request.headers)]
    shown += [repr(provider), repr(vars(provider)), str(played.error)]
    # The host drops the frames of an error, with what the service has said.
    told = {"capture_locals": KEY.encode() not in body}
    lines = traceback.TracebackException.from_exception(played.error, **told).format()
    assert KEY not in "".join([*shown, *lines])


@each
def test_list_of_models_that_is_refused_is_so_in_the_same_words(make):
    steps = make(key=KEY).list_models()
    next(steps)
    with pytest.raises(AuthError) as caught:
        steps.send(HttpResponse(401, {}, json.dumps({"error": KEY}).encode()))
    assert caught.value.message == make.service.key_refused


def test_service_without_an_address_says_where_one_is_set():
    row = Row(name="x", base_url="", url_variable="X_URL", key_variables=("X",))
    with pytest.raises(ConfigError, match="no address: set X_URL or the setting base_url"):
        _ = row(key=KEY).base_url


def test_page_that_is_not_there_is_an_address_that_is_wrong():
    played = Played(Cohere("http://127.0.0.1:9", KEY), b"<html>", status=404, messages=QUESTION)
    assert type(played.error) is ProtocolError
    assert "no such API at http://127.0.0.1:9: check COHERE_BASE_URL" in played.error.message


def test_value_that_the_service_acts_by_is_the_only_one_that_fits():
    class Single(Cohere):
        service = Service(
            name="x", base_url="http://h", url_variable="X", key_variables=(), only={"n": 1}
        )

    unfit = Single(key=KEY).unfit
    assert unfit("m", QUESTION, {"n": 2}) == {"n": "but 1"}
    assert unfit("m", QUESTION, {"n": 1}) == unfit("m", QUESTION, {}) == {}
