"""An answer that is still coming, whether it is waited for in a thread or in a task."""

from __future__ import annotations

from router.driver.base import BaseDrive
from router.errors import Cancelled, ConfigError
from router.types import Completion, Trace


class BaseStream:
    """What `Stream` and `AsyncStream` have in common: all but how they are read."""

    _drive: BaseDrive

    @property
    def completion(self) -> Completion:
        """The whole answer, once the stream is at its end.

        Raises:
            ConfigError: It is not, or it broke off.
        """
        if self._drive.completion is None:
            raise ConfigError("the completion is there when the stream has come to its end")
        return self._drive.completion

    @property
    def trace(self) -> Trace:
        """The attempts so far."""
        return self._drive.prepared.journal.trace()

    def _check_whole(self) -> None:
        """Raise `Cancelled` at the end of a part, which must not read like the whole."""
        if self._drive.completion is None:
            raise Cancelled("the stream is over, without a whole answer") from None
