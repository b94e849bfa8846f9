"""What both transports are told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from router.errors import ConfigError
from router.secret import Unshown

MAX_BODY_BYTES = 64 * 1024 * 1024
"""The most of a whole body that is kept, decompressed: what protects the memory from a bomb."""

MAX_ERROR_BYTES = 1024 * 1024
"""The most of an error's body that is kept."""

READ_BYTES = 65536
"""How much is asked of a socket at once."""

POOL_SIZE = 128
"""Idle connections kept for each host; more may be open at once."""


KEEP_ALIVE_SECONDS = 60.0
"""How long an idle connection is kept: servers close theirs after 60 s or more."""

PROXIED = ("http", "https", "all")
"""What a proxy may be named for: the scheme of the URLs that go through it, or all of them."""


class TransportSettings(Unshown, frozen=True, kw_only=True):
    """Proxies and certificates.

    Attributes:
        trust_env: Whether proxies and certificate bundles are taken from the environment.
        proxies: URL scheme, or `all`, to proxy URL.
        verify: Whether certificates are verified, or the file or folder of those to trust.
    """

    trust_env: bool = False
    proxies: Mapping[str, str] = {}
    verify: bool | str = True

    def __post_init__(self) -> None:
        for scheme, url in self.proxies.items():
            if scheme not in PROXIED or "://" not in url:
                expected = "a URL such as http://127.0.0.1:3128, for http, https or all"
                raise ConfigError(f"proxies: {scheme}: {expected}")
        if isinstance(self.verify, str) and not Path(self.verify).exists():
            raise ConfigError("verify: there is no such file or folder")
