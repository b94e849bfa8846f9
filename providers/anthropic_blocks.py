"""The blocks that an answer on Anthropic's wire is made of, each read as it comes.

What has to be sent back in the next turn comes as reasoning blocks, in their order: thinking with
its signature, redacted thinking, and every block that the router has no name for (those of tools
that run at the service, say) as it is, in `extra["block"]`. Such a block that comes after text has
`extra["at"]`, the number of characters before it, so that it can be put back in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw, Struct

from router import Chunk, Citation, ProtocolError, Reasoning, ToolCallDelta, decode_json

from .anthropic_requests import tool_input

Piece: TypeAlias = str | Chunk


class Block:
    """A block that is still coming.

    Args:
        start: The block as it began.
        at: How much text of the answer came before it, in characters.
    """

    def __init__(self, start: bytes, at: int) -> None:
        self._start = start
        self._at = at

    def begin(self) -> list[Piece]:
        """What the beginning holds, which has the fields of a piece.

        Raises:
            ProtocolError: It is malformed.
        """
        return self.take(self._start)

    def take(self, delta: bytes) -> list[Piece]:
        """What a piece brings.

        Raises:
            ProtocolError: It is malformed.
        """
        raise NotImplementedError

    def end(self) -> list[Piece]:
        """What is told when the block is whole."""
        raise NotImplementedError

    def _sealed(self, **fields: Any) -> list[Piece]:
        """The block as it has to be sent back."""
        place = {"at": self._at} if self._at else {}
        extra = {**fields.pop("extra", {}), **place}
        return [Chunk(reasoning_block=Reasoning(**fields, extra=extra))]


class TextPart(Struct):
    """The beginning of a text, or a piece of one."""

    text: str | None = None
    citations: list[dict[str, Any]] | None = None
    citation: dict[str, Any] | None = None


class TextBlock(Block):
    """Text; its citations are told at its end, since they support all of it."""

    def __init__(self, start: bytes, at: int) -> None:
        super().__init__(start, at)
        self._length = 0
        self._citations: list[Mapping[str, Any]] = []

    def take(self, delta: bytes) -> list[Piece]:
        part: TextPart = decode_json(delta, TextPart)
        self._citations += part.citations or ()
        if part.citation is not None:
            self._citations.append(part.citation)
        if not part.text:
            return []
        self._length += len(part.text)
        return [part.text]

    def end(self) -> list[Piece]:
        end = self._at + self._length
        return [Chunk(citation=read_citation(each, self._at, end)) for each in self._citations]


class ThinkingPart(Struct):
    """The beginning of some thinking, or a piece of it."""

    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class ThinkingBlock(Block):
    """Thinking with its seal; the text may be a summary, or be kept by the service."""

    def __init__(self, start: bytes, at: int) -> None:
        super().__init__(start, at)
        self._text = ""
        self._signature = ""
        self._data: str | None = None

    def take(self, delta: bytes) -> list[Piece]:
        part: ThinkingPart = decode_json(delta, ThinkingPart)
        self._signature += part.signature or ""
        self._data = part.data or self._data
        if not part.thinking:
            return []
        self._text += part.thinking
        return [Chunk(reasoning=part.thinking)]

    def end(self) -> list[Piece]:
        return self._sealed(text=self._text, signature=self._signature or None, data=self._data)


class ToolPart(Struct):
    """The beginning of a tool call, or a piece of its input."""

    id: str | None = None
    name: str | None = None
    input: Raw = Raw(b"{}")
    caller: dict[str, Any] | None = None
    partial_json: str = ""

    @property
    def signature(self) -> str | None:
        """The caller, where it is a tool of the service's, which wants to be named again."""
        if self.caller is None or self.caller == {"type": "direct"}:
            return None
        return msgspec.json.encode(self.caller).decode()


class ToolBlock(Block):
    """A call of one of the caller's tools.

    Args:
        start, at: As for each block.
        number: Which of the answer's calls it is.
    """

    def __init__(self, start: bytes, at: int, number: int) -> None:
        super().__init__(start, at)
        self._number = number
        self._has_input = False

    def begin(self) -> list[Piece]:
        start: ToolPart = decode_json(self._start, ToolPart)
        if not (start.id and start.name):
            raise ProtocolError("a tool call without an id or a name")
        call = ToolCallDelta(
            index=self._number, id=start.id, name=start.name, signature=start.signature
        )
        return [Chunk(tool_call=call)]

    def take(self, delta: bytes) -> list[Piece]:
        part: ToolPart = decode_json(delta, ToolPart)
        return self._input(part.partial_json) if part.partial_json else []

    def end(self) -> list[Piece]:
        # An input that is empty, or of a whole message, came with the beginning.
        start: ToolPart = decode_json(self._start, ToolPart)
        return [] if self._has_input else self._input(bytes(start.input).decode())

    def _input(self, text: str) -> list[Piece]:
        self._has_input = True
        return [Chunk(tool_call=ToolCallDelta(index=self._number, arguments=text))]


class OpaqueBlock(Block):
    """A block that the router has no name for: kept as it is, to be sent back."""

    def __init__(self, start: bytes, at: int) -> None:
        super().__init__(start, at)
        self._block: dict[str, Any] = decode_json(start, dict[str, Any])
        self._input = ""

    def begin(self) -> list[Piece]:
        return []

    def take(self, delta: bytes) -> list[Piece]:
        part: dict[str, Any] = decode_json(delta, dict[str, Any])
        for name, value in part.items():
            known = self._block.get(name)
            if name == "partial_json":
                self._input += str(value)
            elif name != "type":
                joined = isinstance(known, str) and isinstance(value, str)
                self._block[name] = f"{known}{value}" if joined else value
        return []

    def end(self) -> list[Piece]:
        if self._input:
            self._block["input"] = tool_input(self._input)
        return [*self._sealed(extra={"block": self._block}), Chunk(raw=self._block)]


BLOCKS: dict[str, type[Block]] = {
    "text": TextBlock,
    "thinking": ThinkingBlock,
    "redacted_thinking": ThinkingBlock,
}


def read_citation(citation: Mapping[str, Any], start: int, end: int) -> Citation:
    """The router's citation from the wire's: of a document, a search result or a page of the web.

    Args:
        citation: As it came.
        start: Where the text that it supports begins, in characters of the answer.
        end: Where it ends.
    """
    number = citation.get("document_index", citation.get("search_result_index"))
    return Citation(
        url=_text(citation.get("url", citation.get("source"))),
        title=_text(citation.get("title", citation.get("document_title"))),
        document=None if number is None else str(number),
        quote=_text(citation.get("cited_text")),
        start=start,
        end=end,
        raw=citation,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
