"""How a command ends: its exit code, its last line, and whether all that it said was written.

Exit codes:

    0    done
    1    no target answered; a plugin is broken; `doctor` or `conformance` found something broken;
         the output cannot be written
    2    bad usage: of the command, or of a call, refused before anything was sent
    130  interrupted (Ctrl-C)
    141  whoever read the output went away
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from router.errors import (
    BadRequest,
    ConfigError,
    ModelNotFound,
    RouterError,
    UnsupportedParameter,
)

BAD_USAGE = (BadRequest, ConfigError, ModelNotFound, UnsupportedParameter)
INTERRUPTED = 128 + 2
PIPE_BROKEN = 128 + 13
"""As a shell has it for programs that end by SIGINT and SIGPIPE."""


def exit_code(error: RouterError) -> int:
    """How the command ends by an error."""
    return 2 if isinstance(error, BAD_USAGE) and not error.attempts else 1


class Failure(click.ClickException):
    """A router's error as click takes it; those of single attempts are told before."""

    def __init__(self, error: RouterError) -> None:
        message = str(error)
        super().__init__(message.partition("\n")[0].rstrip(":") if error.attempts else message)


class Misuse(Failure):
    """One that stands for bad usage."""

    exit_code = 2


class Commands(click.Group):
    """The commands, and how each of them may end."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        _prepare_output()
        return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _written():  # by --help and --version, which no command runs for
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _written():
                return super().invoke(ctx)
        except RouterError as error:
            raise (Misuse if exit_code(error) == Misuse.exit_code else Failure)(error) from None
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


def _prepare_output() -> None:
    """Let both streams take what they are given, even where whoever started this closed one."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115  # until the process ends
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115  # likewise
    for stream in (sys.stdout, sys.stderr):
        # An answer may hold what the terminal's encoding does not, lone surrogates included.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _written() -> Iterator[None]:
    """All output is written at the end, or the command ends by that: in a line, or in none."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.filename is not None:  # it is of a file, and no stream's
            raise
        # Python flushes standard output at its end, which would fail loudly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise click.exceptions.Exit(PIPE_BROKEN) from None
        raise click.ClickException(f"the output cannot be written: {error.strerror}") from None
