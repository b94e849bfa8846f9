"""What an answer of Gemini's rests on: grounding in a search, and passages that it recites.

Places in the answer's text are counted in bytes of UTF-8 on the wire, and in characters here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from router import Citation


class Segment(Struct, rename="camel"):
    """A piece of the answer's text, by its first byte and the one behind its last."""

    start_index: int | None = None
    end_index: int | None = None
    text: str | None = None


class Support(Struct, rename="camel"):
    """A piece of the text, with the numbers of the sources that it rests on."""

    segment: Segment | None = None
    grounding_chunk_indices: list[int] | None = None


class Grounding(Struct, rename="camel"):
    """What a search has found, and what of the answer rests on it."""

    grounding_chunks: list[dict[str, Any]] | None = None
    grounding_supports: list[Support] | None = None


class Recited(Struct, rename="camel", omit_defaults=True):
    """A passage of the answer that stands elsewhere."""

    start_index: int | None = None
    end_index: int | None = None
    uri: str | None = None
    title: str | None = None
    license: str | None = None


class Recitation(Struct, rename="camel"):
    """The passages; Gemini has one name for the list, Vertex another."""

    citation_sources: list[Recited] | None = None
    citations: list[Recited] | None = None


class Sources:
    """The sources of one choice, gathered while its text comes."""

    def __init__(self) -> None:
        self._chunks: list[dict[str, Any]] = []
        self._told: list[dict[str, Any]] = []
        self._supports: list[Support] = []
        self._recited: list[Recited] = []

    def add(self, grounding: Grounding | None, recitation: Recitation | None) -> None:
        """Take what one reply tells: the list so far once more, or more of what was found."""
        if grounding is not None:
            chunks, known = grounding.grounding_chunks or [], self._chunks
            self._told += chunks
            self._chunks = chunks if chunks[: len(known)] == known else known + chunks
            self._supports += grounding.grounding_supports or ()
        if recitation is not None:
            self._recited += recitation.citation_sources or recitation.citations or ()

    def citations(self, text: str) -> list[Citation]:
        """What is cited: each source of each piece of the text, then those of no piece.

        Args:
            text: The whole text of the choice.
        """
        found: list[Citation] = []
        for citation in (*self._grounded(text), *self._passages(text)):
            if citation not in found:  # a stream may tell what it told before
                found.append(citation)
        return found

    def _grounded(self, text: str) -> Iterator[Citation]:
        cited: list[dict[str, Any]] = []
        for support in self._supports:
            start, end = _span(support.segment or Segment(), text)
            for number in support.grounding_chunk_indices or ():
                # What two searches found alike has a number of each.
                chunks = self._chunks if number < len(self._chunks) else self._told
                if 0 <= number < len(chunks):
                    cited.append(chunks[number])
                    yield _citation(chunks[number], start, end)
        for chunk in self._chunks:
            if chunk not in cited:
                yield _citation(chunk, None, None)

    def _passages(self, text: str) -> Iterator[Citation]:
        for each in self._recited:
            start, end = _span(Segment(each.start_index, each.end_index), text)
            raw = msgspec.to_builtins(each)
            yield Citation(url=each.uri, title=each.title, start=start, end=end, raw=raw)


def _citation(chunk: dict[str, Any], start: int | None, end: int | None) -> Citation:
    """That of a source, which stands under the name of its kind: `web`, `retrievedContext`, ..."""
    source = next((value for value in chunk.values() if isinstance(value, dict)), {})
    told = (source.get(name) for name in ("uri", "title", "text"))
    url, title, quote = (each if isinstance(each, str) else None for each in told)
    return Citation(url=url, title=title, quote=quote, start=start, end=end, raw=chunk)


def _span(segment: Segment, text: str) -> tuple[int | None, int | None]:
    """A segment's place in characters, or none where its own text stands nowhere."""
    if segment.end_index is None:
        return None, None
    encoded = text.encode()
    start, end = (
        len(encoded[: place or 0].decode("utf-8", "ignore"))
        for place in (segment.start_index, segment.end_index)
    )
    if segment.text is None or text[start:end] == segment.text:
        return start, end
    # The bytes are counted within a part of the answer, which need not be its first.
    start = text.find(segment.text)
    return (start, start + len(segment.text)) if start >= 0 else (None, None)
