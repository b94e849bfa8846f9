"""The parts of a message's content, and the dicts of the OpenAI API that they are given as."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from msgspec import Struct, field

from router.errors import BadRequest
from router.values import copied, plain


class Text(Struct, frozen=True, kw_only=True):
    """A piece of text. `extra` keeps what the caller gave beside it (cache markers and such)."""

    text: str
    extra: Mapping[str, Any] = field(default_factory=dict)


class Image(Struct, frozen=True, kw_only=True):
    """A picture: a URL that the provider fetches, or its bytes with their media type."""

    url: str | None = None
    data: bytes | None = None
    media_type: str | None = None
    detail: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class Audio(Struct, frozen=True, kw_only=True):
    """Sound: its bytes and their format (`wav`, `mp3`)."""

    data: bytes
    format: str
    extra: Mapping[str, Any] = field(default_factory=dict)


class Video(Struct, frozen=True, kw_only=True):
    """A film: a URL that the provider fetches, or its bytes with their media type."""

    url: str | None = None
    data: bytes | None = None
    media_type: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class File(Struct, frozen=True, kw_only=True):
    """A document: its bytes with a media type, its URL, or the id of one the provider holds."""

    data: bytes | None = None
    url: str | None = None
    media_type: str | None = None
    name: str | None = None
    id: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


Part: TypeAlias = Text | Image | Audio | Video | File


def check_part(part: object, where: str) -> Part:
    """A part, from a typed one or from a dict as in the OpenAI API.

    Args:
        part: It.
        where: What it is called in an error.

    Raises:
        BadRequest: It is none; says what it lacks, and never what it holds.
    """
    if isinstance(part, Part):
        return _check_typed(part, where)
    if not isinstance(part, Mapping):
        raise BadRequest(f"{where} is a dict with a type, or a typed part, not {_kind(part)}")
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in _READERS:
        raise BadRequest(f"{where}: the type is one of {', '.join(_READERS)}, not {shown(kind)}")
    read, shape = _READERS[kind]
    extra = {key: value for key, value in part.items() if key not in ("type", kind)}
    try:
        if part.get(kind) is None:
            raise ValueError(f'there is no "{kind}" in it')
        return read(part[kind], extra)
    except ValueError as error:
        told = f'{where}: {error}; such a part is {{"type": "{kind}", "{kind}": {shape}}}'
    raise BadRequest(told)  # out here, where it has no context, whose frames hold the part


def part_to_dict(part: Part) -> dict[str, Any]:
    """The part as a dict of the OpenAI API, made anew at each call."""
    match part:
        case Text():
            return {"type": "text", "text": part.text, **copied(part.extra)}
        case Image():
            image = {"url": part.url or to_data_url(part.data or b"", part.media_type)}
            detail = {} if part.detail is None else {"detail": part.detail}
            return {"type": "image_url", "image_url": {**image, **detail}, **copied(part.extra)}
        case Audio():
            audio = {"data": base64.b64encode(part.data).decode(), "format": part.format}
            return {"type": "input_audio", "input_audio": audio, **copied(part.extra)}
        case Video():
            video = {"url": part.url or to_data_url(part.data or b"", part.media_type)}
            return {"type": "video_url", "video_url": video, **copied(part.extra)}
        case File():
            file = {} if part.name is None else {"filename": part.name}
            if part.data is not None:
                file["file_data"] = to_data_url(part.data, part.media_type)
            elif part.url is not None:
                file["file_data"] = part.url
            else:
                file["file_id"] = part.id or ""
            return {"type": "file", "file": file, **copied(part.extra)}


def to_data_url(data: bytes, media_type: str | None) -> str:
    """The bytes as a `data:` URL."""
    return (
        f"data:{media_type or 'application/octet-stream'};base64,{base64.b64encode(data).decode()}"
    )


def is_url(text: str | None) -> bool:
    """Whether it is an address that a provider can fetch something from."""
    return text is not None and text.startswith(("https://", "http://"))


def shown(value: object) -> str:
    """A wrong role or type; one that is no single word may be what was meant as content."""
    is_word = isinstance(value, str) and value.isascii() and value.isidentifier()
    return repr(value)[:40] if is_word else _kind(value)


def _check_typed(part: Part, where: str) -> Part:
    """A Struct does not check its types when it is made."""
    match part:
        case (
            Text(text=str())
            | Image(url=str())
            | Image(data=bytes())
            | Audio(data=bytes(), format=str())
            | Video(url=str())
            | Video(data=bytes())
            | File(data=bytes())
            | File(url=str())
            | File(id=str())
        ):
            plain(part.extra, f"{where}.extra")
            return part
    raise BadRequest(f"{where} is a {_kind(part)} without what it is to hold, or of a wrong type")


# -- the dicts of the OpenAI API: each reader raises a ValueError that says what is wrong


def _text(value: Any, extra: dict[str, Any]) -> Part:
    if not isinstance(value, str):
        raise ValueError(f"its text is not a str, but {_kind(value)}")
    return Text(text=value, extra=extra)


def _image(value: Any, extra: dict[str, Any]) -> Part:
    fields = _with_url(value)
    detail = _word(fields, "detail")
    return Image(**_place(fields), detail=detail, extra=extra)


def _audio(value: Any, extra: dict[str, Any]) -> Part:
    fields = _mapping(value)
    _, data = _decoded(_needed(fields, "data"))
    return Audio(data=data, format=_needed(fields, "format"), extra=extra)


def _video(value: Any, extra: dict[str, Any]) -> Part:
    return Video(**_place(_with_url(value)), extra=extra)


def _file(value: Any, extra: dict[str, Any]) -> Part:
    fields = _mapping(value)
    name, given = _word(fields, "filename"), _word(fields, "file_data")
    media_type = _word(fields, "format")
    place = given or _word(fields, "file_id")
    if place is None:
        raise ValueError('there is neither "file_data" nor "file_id" in it')
    if is_url(place):
        return File(url=place, media_type=media_type, name=name, extra=extra)
    if given is None:
        return File(id=place, media_type=media_type, name=name, extra=extra)
    told, data = _decoded(given)
    media_type = told or media_type or mimetypes.guess_type(name or "")[0]
    return File(data=data, media_type=media_type, name=name, extra=extra)


_READERS: dict[str, tuple[Callable[[Any, dict[str, Any]], Part], str]] = {
    "text": (_text, '"..."'),
    "image_url": (_image, '{"url": "https://..." or "data:image/png;base64,..."}'),
    "input_audio": (_audio, '{"data": BASE64, "format": "wav"}'),
    "video_url": (_video, '{"url": "https://..." or "data:video/mp4;base64,..."}'),
    "file": (_file, '{"file_data": "data:...;base64,..." or "https://..."} or {"file_id": "..."}'),
}
"""What reads a part of each type, and what such a part holds."""


def _with_url(value: Any) -> Mapping[str, Any]:
    """The fields of a part that is somewhere: its URL may stand for them."""
    return {"url": value} if isinstance(value, str) else _mapping(value)


def _place(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Where something is, or its bytes. `format` is litellm's name for the media type."""
    url, media_type = _needed(fields, "url"), _word(fields, "format")
    if not url.startswith("data:"):
        return {"url": url, "media_type": media_type}
    told, data = _decoded(url)
    return {"data": data, "media_type": told or media_type}


def _decoded(text: str) -> tuple[str | None, bytes]:
    """The media type of a `data:` URL, and its bytes; base64 may also stand alone."""
    media_type, data = None, text
    if text.startswith("data:"):
        head, _, data = text.removeprefix("data:").partition(",")
        media_type, _, encoding = head.rpartition(";")
        if encoding != "base64":
            raise ValueError("its data: URL is not in base64")
    try:
        return media_type or None, base64.b64decode(data, validate=True)
    except ValueError:
        raise ValueError("its data is not base64") from None


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"it holds not a dict, but {_kind(value)}")
    return value


def _needed(fields: Mapping[str, Any], name: str) -> str:
    if (value := _word(fields, name)) is None:
        raise ValueError(f'there is no "{name}" in it')
    return value


def _word(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if not isinstance(value, str | None):
        raise ValueError(f'its "{name}" is not a str, but {_kind(value)}')
    return value


def _kind(value: object) -> str:
    return type(value).__name__
