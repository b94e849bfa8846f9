"""The log events: constant names, flat fields, no prompt and no key.

Silent until somebody listens: events go to structlog where the application has configured it,
else to the standard logger `router`, which has no handler of its own but a null one.

Fields: `request_id` names the call; `target`, `provider`, `model`, `attempt` (its number);
`latency_ms` and `ttft_ms` in milliseconds; `input_tokens`, `output_tokens`; `cost_usd`;
`error_type`, `error`, `status`, `code`; `dropped`, `renamed`, `unchecked` parameters.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

ATTEMPT_STARTED = "attempt_started"
ATTEMPT_FAILED = "attempt_failed"
ATTEMPT_SUCCEEDED = "attempt_succeeded"
TARGET_PASSED_OVER = "target_passed_over"
COMPLETION_SUCCEEDED = "completion_succeeded"
COMPLETION_FAILED = "completion_failed"
COMPLETION_CANCELLED = "completion_cancelled"
PLUGIN_FAILED = "plugin_failed"
HOOK_FAILED = "hook_failed"
CLEANUP_FAILED = "cleanup_failed"
CLOSE_FAILED = "close_failed"

EVENTS: dict[str, str] = {
    ATTEMPT_STARTED: "debug: an attempt is about to be sent",
    ATTEMPT_FAILED: "warning: an attempt failed; the router goes on as its policy says",
    ATTEMPT_SUCCEEDED: "debug: an attempt brought the whole answer",
    TARGET_PASSED_OVER: "info: a target cannot take this call; nothing was sent to it",
    COMPLETION_SUCCEEDED: "info: the call is answered; the fields are those of its last attempt",
    COMPLETION_FAILED: "error: the call ends without a whole answer",
    COMPLETION_CANCELLED: "info: the caller closed the call before its end",
    PLUGIN_FAILED: "warning: a plugin could not be loaded, or its name is claimed twice",
    HOOK_FAILED: "warning: an observer hook raised; the call is not affected",
    CLEANUP_FAILED: "info: a request after an exchange (a conversation's deletion) failed",
    CLOSE_FAILED: "warning: a provider's close() raised",
}
"""Every event, with its level and meaning; the docs are tested against it."""

LOGGER = "router"

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class Log:
    """Where a router's events go: decided at each event, so that configuring later works."""

    def __init__(self) -> None:
        self._standard = logging.getLogger(LOGGER)
        if not any(isinstance(h, logging.NullHandler) for h in self._standard.handlers):
            self._standard.addHandler(logging.NullHandler())

    def hears(self, level: str) -> bool:
        """Whether events of a level go anywhere, so that nobody puts them together for nothing."""
        if _structured():
            return _is_kept(_LEVELS[level])
        return self._standard.isEnabledFor(_LEVELS[level])

    def debug(self, event: str, **fields: Any) -> None:
        self._emit("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._emit("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._emit("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._emit("error", event, fields)

    def _emit(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """A log that cannot be written is never the call's failure."""
        try:
            if _structured():
                import structlog

                present = {key: value for key, value in fields.items() if value is not None}
                getattr(structlog.get_logger(LOGGER), level)(event, **present)
            elif self._standard.isEnabledFor(_LEVELS[level]):
                self._standard_event(level, event, fields)
        except Exception:
            logging.getLogger(f"{LOGGER}.log").debug("a log sink failed", exc_info=True)

    def _standard_event(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """For plain logging: the fields in the message, and as one dict on the record."""
        present = {key: value for key, value in fields.items() if value is not None}
        text = " ".join(f"{key}={value!r}" for key, value in present.items())
        self._standard.log(_LEVELS[level], "%s %s", event, text, extra={"router": present})


def _structured() -> bool:
    """Whether the application has configured structlog, which it must have imported for that."""
    is_configured = getattr(sys.modules.get("structlog"), "is_configured", None)
    return is_configured is not None and is_configured()


def _is_kept(level: int) -> bool:
    """Whether the application's structlog keeps events of a level; one that cannot say may."""
    import structlog

    kind = structlog.get_config()["wrapper_class"]
    try:
        return bool(kind(None, (), {}).is_enabled_for(level))
    except Exception:  # noqa: BLE001  # of whatever class it is; most have no such method
        return True
