"""Log output for applications that have configured none."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Literal, TextIO, TypeAlias

import structlog

from router.errors import ConfigError

Processor: TypeAlias = Callable[
    [Any, str, MutableMapping[str, Any]],
    Mapping[str, Any] | str | bytes | bytearray | tuple[Any, ...],
]


def configure(
    output: Literal["json", "console"] = "console",
    *,
    level: Literal["debug", "info", "warning", "error"] = "info",
    stream: TextIO | None = None,
) -> None:
    """Configure structlog to write the events, one a line.

    An application that has its own configuration, of structlog or of `logging`, does not need
    this: the router honours that.

    Args:
        output: `json` for machines, `console` for people.
        level: The lowest level that is written.
        stream: Where to; standard error by default.

    Raises:
        ConfigError: There is no such output or level.
    """
    levels = logging.getLevelNamesMapping()
    if output not in ("json", "console") or level.upper() not in levels:
        raise ConfigError(f"no log output {output!r} at level {level!r}: see configure()")
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    target = stream if stream is not None else sys.stderr
    if output == "json":
        processors.append(structlog.processors.JSONRenderer())
    else:
        processors.append(structlog.dev.ConsoleRenderer(colors=target.isatty(), sort_keys=False))
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(levels[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,
    )
