"""Which certificates are trusted, and which proxy a request goes through."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import certifi
import pytest
from rawclient import connect

from router.testing import FaultServer
from router.transport.network import PROXY_VARIABLES, connection_hint, proxy_for, tls_context
from router.transport.settings import TransportSettings

GIVEN, NAMED = "http://given:1", "http://named:2"


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer(tls=True) as server:
        yield server


def trusts(settings: TransportSettings, server: FaultServer, name: str = "127.0.0.1") -> bool:
    """Whether a handshake with the server succeeds, under that name."""
    with closing(connect(server.url)) as sock:
        try:
            tls_context(settings).wrap_socket(sock, server_hostname=name).close()
        except ssl.SSLCertVerificationError:
            return False
    return True


def test_the_usual_certificates_are_certifis(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not trusts(TransportSettings(), server)
    monkeypatch.setattr(certifi, "where", lambda: str(server.authority))
    assert trusts(TransportSettings(), server)
    assert not trusts(TransportSettings(), server, name="another.invalid")


def test_certificates_are_those_that_are_given_or_none(server: FaultServer) -> None:
    assert trusts(TransportSettings(verify=str(server.authority)), server)
    assert trusts(TransportSettings(verify=False), server, name="another.invalid")


def test_certificates_of_the_environment_are_trusted_where_it_is(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`REQUESTS_CA_BUNDLE` before `SSL_CERT_FILE`, and both behind what is given."""
    monkeypatch.setenv("SSL_CERT_FILE", str(server.authority))
    assert not trusts(TransportSettings(), server)
    assert trusts(TransportSettings(trust_env=True), server)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    assert not trusts(TransportSettings(trust_env=True), server)
    assert trusts(TransportSettings(trust_env=True, verify=str(server.authority)), server)


def test_a_folder_of_certificates_is_taken_as_one(tmp_path: Path) -> None:
    """OpenSSL looks into it at each handshake, by the hash of a name."""
    context = tls_context(TransportSettings(verify=str(tmp_path)))
    assert context.get_ca_certs() == []


@pytest.mark.parametrize("verify", [True, False])
def test_old_versions_of_tls_are_not_spoken(verify: bool) -> None:
    context = tls_context(TransportSettings(verify=verify))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("settings", "environment", "url", "proxy"),
    [
        ({}, {"http_proxy": NAMED, "all_proxy": NAMED}, "http://host/", None),
        ({"proxies": {"https": GIVEN}}, {}, "https://host/", GIVEN),
        ({"proxies": {"https": GIVEN}}, {"http_proxy": NAMED}, "http://host/", None),
        ({"proxies": {"all": GIVEN}}, {}, "http://host/", GIVEN),
        ({"proxies": {"https": GIVEN, "all": NAMED}}, {}, "https://host/", GIVEN),
        ({"proxies": {"https": GIVEN, "all": NAMED}}, {}, "http://host/", NAMED),
        ({"trust_env": True}, {}, "http://host/", None),
        ({"trust_env": True}, {"http_proxy": NAMED}, "http://host/", NAMED),
        ({"trust_env": True}, {"http_proxy": NAMED}, "https://host/", None),
        ({"trust_env": True}, {"HTTPS_PROXY": NAMED}, "https://host/", NAMED),
        ({"trust_env": True}, {"all_proxy": NAMED}, "https://host/", NAMED),
        ({"trust_env": True}, {"all_proxy": NAMED, "no_proxy": "host"}, "http://host:8/x", None),
        ({"trust_env": True}, {"all_proxy": NAMED, "no_proxy": "host"}, "http://other/", NAMED),
        (
            {"trust_env": True, "proxies": {"http": GIVEN}},
            {"http_proxy": NAMED, "no_proxy": "host"},
            "http://host/",
            GIVEN,
        ),
    ],
)
def test_a_proxy_is_the_given_one_or_that_of_a_trusted_environment(
    settings: dict[str, object],
    environment: Mapping[str, str],
    url: str,
    proxy: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(TransportSettings(**settings), url) == proxy  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PROXY_VARIABLES)
def test_a_proxy_that_is_set_but_not_used_is_hinted_at(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert connection_hint(TransportSettings()) == ""
    monkeypatch.setenv(name, NAMED)
    hint = f" ({name} is set but not used: Router(trust_env=True) uses it)"
    assert connection_hint(TransportSettings()) == hint
    assert connection_hint(TransportSettings(trust_env=True)) == ""
    assert connection_hint(TransportSettings(proxies={"http": GIVEN})) == ""
