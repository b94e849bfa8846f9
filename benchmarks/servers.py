"""Fault servers in processes of their own, ended with the benchmark."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def fault_server(default: str = "ok") -> Iterator[str]:
    """The base URL of a fault server that shows one fault to every request."""
    command = [sys.executable, "-m", "router.testing.faults", "--default", default]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
