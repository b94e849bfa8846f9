"""What every test stands on: loopback alone, no keys from the environment, the shared captures."""

import gc
import importlib.metadata
import ipaddress
import os
import socket
import sys
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import certifi
import pytest
from hypothesis import settings

from router.secret import Secret

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("ROUTER_SHARED", REPOSITORY.parent / "shared"))

# What providers and HTTP clients read from the environment, by the ends of the names.
SETTINGS = ("_API_KEY", "_BASE_URL", "_CA_BUNDLE", "_CERT_FILE", "_ENDPOINT", "_PROXY", "_TOKEN")

KEYS = pytest.StashKey[set[str]]()
LEAST_KEY = 8
"""Characters of a key that is searched for: a shorter one may be part of any word."""

PROMPT = "prompt-canary"
"""How the prompts begin that are searched for likewise."""

# The cores are shared: how long an example takes says nothing.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


def pytest_collection_finish() -> None:
    """What was collected stays to the end: no search for garbage has to look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of captures and cassettes beside the repository, or where ROUTER_SHARED says."""
    if not SHARED.is_dir():
        pytest.skip(f"no captures at {SHARED}: set ROUTER_SHARED to their folder")
    return SHARED


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, address, proxy or setting of whoever runs the tests reaches them."""
    for name in tuple(os.environ):
        if name.upper().endswith(SETTINGS) or name.startswith("ROUTER_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def one_usual_certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One authority in place of all that are usually trusted, which no test meets.

    Each router that sends anything reads them: 2,000 times 10 ms for all of them.
    """
    usual = Path(certifi.where()).read_text(encoding="utf-8")
    first, end, _ = usual.partition("-----END CERTIFICATE-----\n")
    path = tmp_path_factory.mktemp("certificates") / "usual.pem"
    path.write_text(first + end, encoding="utf-8")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(certifi, "where", lambda: str(path))
        yield


@pytest.fixture(scope="session", autouse=True)
def entry_points_read_once() -> Iterator[None]:
    """What is installed on a path is read once: each router reads it, 4,000 times 2 ms."""
    read = importlib.metadata.entry_points

    @cache
    def on_path(path: tuple[str, ...], group: str) -> Any:
        return read(group=group)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(
            importlib.metadata, "entry_points", lambda *, group: on_path(tuple(sys.path), group)
        )
        yield


@pytest.fixture(autouse=True)
def keys(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The keys that a test makes: its output is searched for them."""
    noted: set[str] = set()
    make = Secret.__init__

    def make_and_note(self: Secret, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        noted.add(self.reveal())

    monkeypatch.setattr(Secret, "__init__", make_and_note)
    request.node.stash[KEYS] = noted
    return noted


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fails the test that had a key, or a prompt made for this, printed or logged by anybody.

    A call that fails is logged with the message of its error and of each attempt's, so this finds
    the key in an error as well.
    """
    report = yield
    if report.when != "teardown":  # which has it all
        return report
    shown = "".join(text for _, text in report.sections)
    keys = {key for key in item.stash.get(KEYS, ()) if len(key) >= LEAST_KEY}
    if any(each in shown for each in {*keys, PROMPT}):
        report.outcome = "failed"
        report.longrepr = "a key or a prompt was printed or logged: see the captured output"
    return report


@pytest.fixture(autouse=True)
def refused_hosts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Fails the test that reaches for a host other than loopback, and gives those it reached for.

    The failure is no `Exception`, so that no code under test takes it for a network error; the
    check at the end is for attempts in other threads. Names under `.invalid` do not resolve, as
    RFC 6761 has it.
    """
    refused: list[str] = []
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    getaddrinfo = socket.getaddrinfo

    def admit(host: object) -> None:
        if not _is_loopback(host):
            refused.append(str(host))
            pytest.fail(f"a test reached for {host!r}, which is not loopback")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        admit(_host(address))
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        admit(_host(address))
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(host, str) and host.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        admit(host)
        return getaddrinfo(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
    yield refused
    assert not refused, f"reached for hosts that are not loopback: {refused}"


def _host(address: Any) -> object:
    """The host of an internet address; nothing of a Unix one."""
    return address[0] if isinstance(address, tuple) else None


def _is_loopback(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(name).partition("%")[0]).is_loopback
    except ValueError:
        return False
