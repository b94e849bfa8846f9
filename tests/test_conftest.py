import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

# An address set aside for documentation (RFC 5737): nothing is there even if the guard fails.
STRANGER = "192.0.2.1"

USERS_SETTINGS = {"OPENAI_API_KEY", "OPENAI_BASE_URL", "https_proxy", "NO_PROXY", "ROUTER_CONFIG"}


@pytest.fixture(scope="module", autouse=True)
def settings_of_a_user():
    """Set before the fixture of each test that has to clear them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in USERS_SETTINGS:
            patch.setenv(name, "set")
        yield


def test_guard_refuses_an_address_beyond_loopback(refused_hosts):
    with socket.socket() as sock, pytest.raises(pytest.fail.Exception, match="not loopback"):
        sock.connect((STRANGER, 9))
    with socket.socket() as sock, pytest.raises(pytest.fail.Exception, match="not loopback"):
        sock.connect_ex((STRANGER, 9))
    assert refused_hosts == [STRANGER, STRANGER]
    refused_hosts.clear()


def test_guard_refuses_to_look_up_a_name(refused_hosts):
    with pytest.raises(pytest.fail.Exception, match=r"example\.com"):
        socket.create_connection(("example.com", 80))
    assert refused_hosts == ["example.com"]
    refused_hosts.clear()


def test_guard_refuses_asyncio_too(refused_hosts):
    with pytest.raises(pytest.fail.Exception):
        asyncio.run(asyncio.open_connection(STRANGER, 9))
    assert refused_hosts == [STRANGER]
    refused_hosts.clear()


def test_guard_remembers_what_another_thread_reached_for(refused_hosts):
    """A failure raised in a thread does not fail the test by itself."""

    def reach() -> None:
        with socket.socket() as sock, pytest.raises(pytest.fail.Exception):
            sock.connect((STRANGER, 9))

    thread = threading.Thread(target=reach)
    thread.start()
    thread.join()
    assert refused_hosts == [STRANGER]
    refused_hosts.clear()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_guard_admits_loopback(host):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection((host, port), timeout=5) as client:
            assert client.getpeername() == ("127.0.0.1", port)


def test_invalid_names_fail_like_names_nobody_has():
    with pytest.raises(socket.gaierror):
        socket.create_connection(("nobody.invalid", 80))


LEAKS = """
import logging

from router import Secret

KEY = Secret("sk-0123456789abcdef")


def test_quiet():
    logging.getLogger("x").warning("a call with %r failed", Secret(KEY.reveal()))


def test_printed():
    print(f"Authorization: {Secret(KEY.reveal()).reveal()}")


def test_logged():
    logging.getLogger("x").warning("a call with %s failed", Secret(KEY.reveal()).reveal())
"""


def test_guard_finds_a_key_that_is_printed_or_logged(tmp_path):
    (tmp_path / "test_leaks.py").write_text(LEAKS)
    folder = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "--rootdir", ".", "-v", "."],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{folder.parent}"},
    )
    told = dict(re.findall(r"::(test_\w+) (\w+)", done.stdout))
    assert told == {"test_quiet": "PASSED", "test_printed": "ERROR", "test_logged": "ERROR"}


def test_environment_holds_no_setting_of_the_one_who_runs_the_tests():
    assert not USERS_SETTINGS & os.environ.keys()


@given(st.integers())
def test_guard_stands_beside_hypothesis(number):
    """An autouse fixture must not trip its check of function-scoped fixtures."""
    assert socket.socket.connect.__name__ == "guarded_connect"
