"""Certificates and proxies, for both transports; imported with them, since ssl costs time."""

from __future__ import annotations

import os
import ssl
import urllib.request
from pathlib import Path

import certifi

from router.transport.settings import TransportSettings

PROXY_VARIABLES = tuple(
    name
    for scheme in ("https", "http", "all")
    for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper())
)


def tls_context(settings: TransportSettings) -> ssl.SSLContext:
    """A context with the certificates in it: loading them for each connection costs 10 ms."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    path = Path(_certificates(settings) or certifi.where())
    if path.is_dir():
        context.load_verify_locations(capath=path)
    else:
        context.load_verify_locations(cafile=path)
    return context


def proxy_for(settings: TransportSettings, url: str) -> str | None:
    """The proxy that a request goes through, or `None`."""
    if not (settings.proxies or settings.trust_env):
        return None
    scheme, _, rest = url.partition("://")
    found = settings.proxies.get(scheme) or settings.proxies.get("all")
    if found is None and settings.trust_env:
        if urllib.request.proxy_bypass(rest.partition("/")[0]):
            return None
        environment = urllib.request.getproxies()
        found = environment.get(scheme) or environment.get("all")
    return found


def connection_hint(settings: TransportSettings) -> str:
    """What a failed connection may be due to: a proxy that was not used."""
    if settings.trust_env or settings.proxies:
        return ""
    found = next((name for name in PROXY_VARIABLES if os.environ.get(name)), None)
    return f" ({found} is set but not used: Router(trust_env=True) uses it)" if found else ""


def _certificates(settings: TransportSettings) -> str | None:
    """The file or folder of certificates to trust, or `None` for the usual ones."""
    if isinstance(settings.verify, str):
        return settings.verify
    if settings.trust_env:
        return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
    return None
