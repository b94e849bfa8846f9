"""What both transports are told."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Mapping

from msgspec import Struct

PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")

MAX_BODY_BYTES = 64 * 1024 * 1024
"""The most of a whole body that is kept, decompressed: what protects the memory from a bomb."""

MAX_ERROR_BYTES = 1024 * 1024
"""The most of an error's body that is kept."""

READ_BYTES = 65536
"""How much is asked of a socket at once."""

POOL_SIZE = 128
"""Idle connections kept for each host; more may be open at once."""


class TransportSettings(Struct, frozen=True, kw_only=True):
    """Proxies and certificates.

    Attributes:
        trust_env: Whether proxies and certificate bundles are taken from the environment.
        proxies: URL scheme to proxy URL, as requests has it.
        verify: Whether certificates are verified, or the file or folder of those to trust.
    """

    trust_env: bool = False
    proxies: Mapping[str, str] = {}
    verify: bool | str = True

    def proxy_for(self, url: str) -> str | None:
        """The proxy that a request goes through, or `None`."""
        scheme, _, rest = url.partition("://")
        host = rest.partition("/")[0]
        found = self.proxies.get(scheme) or self.proxies.get("all")
        if found is None and self.trust_env and not urllib.request.proxy_bypass(host):
            environment = urllib.request.getproxies()
            found = environment.get(scheme) or environment.get("all")
        return found

    def certificates(self) -> str | None:
        """The file or folder of certificates to trust, or `None` for the usual ones."""
        if isinstance(self.verify, str):
            return self.verify
        if self.trust_env:
            return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
        return None

    def connection_hint(self) -> str:
        """What a failed connection may be due to: a proxy that was not used."""
        if self.trust_env or self.proxies:
            return ""
        found = [name for name in PROXY_VARIABLES if os.environ.get(name)]
        if not found:
            return ""
        return f" ({found[0]} is set but not used: Router(trust_env=True) uses it)"
