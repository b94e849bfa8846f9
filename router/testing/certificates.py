"""Certificates of a made-up authority: a good one, and each bad one."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from router.testing.catalog import Fault


class Certificates:
    """An authority that lives in a temporary folder until it is closed.

    Attributes:
        authority: The file with its certificate, for clients to trust.

    Raises:
        ImportError: The package `trustme` is missing.
    """

    def __init__(self) -> None:
        try:
            import trustme
        except ImportError as missing:
            message = "certificates need trustme: pip install 'pluggable-router[testing]'"
            raise ImportError(message) from missing
        self._known = trustme.CA()
        self._unknown = trustme.CA()
        self._folder = TemporaryDirectory(prefix="fault-server-")
        self.authority = Path(self._folder.name) / "authority.pem"
        self._known.cert_pem.write_to_path(str(self.authority))

    def context(self, fault: Fault | None = None) -> ssl.SSLContext:
        """A server's context with a good certificate, or with that fault's."""
        now = datetime.now(UTC)
        authority = self._unknown if fault is Fault.TLS_UNTRUSTED else self._known
        host = "wrong.invalid" if fault is Fault.TLS_WRONG_HOST else "127.0.0.1"
        until = now - timedelta(days=1) if fault is Fault.TLS_EXPIRED else now + timedelta(days=1)
        certificate = authority.issue_cert(
            host, not_before=now - timedelta(days=2), not_after=until
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(context)
        return context

    def close(self) -> None:
        """Removes the folder."""
        self._folder.cleanup()
