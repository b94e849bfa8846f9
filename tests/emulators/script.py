"""What a test chooses of an answer: its tokens, how it goes and when."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

TOKENS = ("Hello", " from", " TGI", ".", " Привет", " 🙂", "\n", "ok")

# What breaks parsers that split where they should not: the field's name, line ends of every kind
# (`str.splitlines` takes U+2028, U+0085 and more for some), quotes, another dialect's last event.
AWKWARD_TOKENS = (
    ' data: {"a":1}',
    "\n\ndata:",
    '"quoted" \\ back',
    "\r\n",
    "one\u2028two\u2029three\u0085four\x0b\x0c\x1c",
    "[DONE]",
    "\t\u0000",
    "👩‍👩‍👧 é ᄒ",
)

SLOW_TOKENS = tuple(f"tok{number} " for number in range(100))


class Mode(StrEnum):
    """How an answer goes. The value is the tag (`[[trunc]]`) that asks for it within a prompt."""

    OK = "ok"
    """`data:` without a blank, the end of sequence as a special token."""
    SPACE = "space"
    """`data: ` with a blank, as since TGI 2.1."""
    NEWER = "newer"
    """As TGI 2.1 and later: the blank, `index`, `top_tokens`, a log probability of null."""
    SPLIT = "split"
    """Chunks of one byte, so that characters are split."""
    KEEPALIVE = "keepalive"
    """A comment before every event."""
    CRLF = "crlf"
    """Lines that end in CR LF."""
    EMPTY_TOKENS = "emptytokens"
    """Tokens with an empty text between the others."""
    AWKWARD = "awkward"
    """`AWKWARD_TOKENS`."""
    LENGTH = "length"
    """No end of sequence: the last visible token carries the generated text."""
    PLAIN_EOS = "plaineos"
    """The end of sequence as a token that is not special, and within the generated text."""
    SLOW = "slow"
    """A hundred tokens, `SLOW_TOKENS`."""
    SLOW_FIRST_BYTE = "slowfirst"
    """Half a second before the status line, where the script gives no delay."""

    FIRST_ERROR = "firsterror"
    """An error event and nothing else."""
    VALIDATION = "validation200"
    OVERLOADED = "overloaded200"
    MID_ERROR = "miderror"
    """Three tokens, then an error event."""
    INCOMPLETE = "incomplete"
    """Three tokens, then the error `incomplete_generation`."""

    TRUNCATED = "trunc"
    """Three tokens and a piece of an event, no terminating chunk."""
    TRUNCATED_JSON = "truncjson"
    """Three tokens and a piece of an event, then a clean end."""
    TRUNCATED_CLEAN = "truncclean"
    """Three tokens, then a clean end."""
    CUT = "cut"
    """Three tokens, no terminating chunk."""
    RESET = "reset"
    """Three tokens, then the connection is reset."""

    JSON_422 = "json422"
    JSON_424 = "json424"
    JSON_429 = "json429"
    JSON_500 = "json500"
    HTML_200 = "html200"
    """A login page."""
    HTML_502 = "html502"
    REFUSED = "refused"
    """The upstream does not answer: chat-ui reports it, a bare TGI closes the connection."""


@dataclass(frozen=True, slots=True)
class Script:
    """How one generation goes.

    Attributes:
        tokens: The visible tokens; None for those of the mode or the server.
        eos: The text of the token that ends the sequence.
        pace: Seconds before each event.
        delay: Seconds before the status line; None for those of the mode.
        hold_after: How many events are sent before the generation waits for `release()`.
    """

    mode: Mode = Mode.OK
    tokens: Sequence[str] | None = None
    eos: str = "<|endoftext|>"
    pace: float = 0.0
    delay: float | None = None
    hold_after: int | None = None
