"""The parts of a content, from the dicts of the OpenAI API and back."""

import base64

import pytest

from router import Audio, BadRequest, File, Image, Text, Video
from router.parts import check_part, part_to_dict

PNG = b"\x89PNG"
DATA = base64.b64encode(PNG).decode()


def refusal(part: object) -> str:
    with pytest.raises(BadRequest) as caught:
        check_part(part, "messages[1].content[1]")
    told = str(caught.value)
    assert told.startswith("messages[1].content[1]")
    return told


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("text", "is a dict with a type, or a typed part, not str"),
        ({}, "the type is one of text, image_url, input_audio, video_url, file, not NoneType"),
        ({"type": "txt", "text": "x"}, "not 'txt'"),
        ({"type": 5}, "not int"),
        ({"type": "text"}, 'there is no "text" in it'),
        ({"type": "text", "text": None}, 'there is no "text" in it'),
        ({"type": "text", "text": 5}, "its text is not a str, but int"),
        ({"type": "image_url", "image_url": 5}, "it holds not a dict, but int"),
        ({"type": "image_url", "image_url": {}}, 'there is no "url" in it'),
        ({"type": "image_url", "image_url": {"url": 5}}, 'its "url" is not a str, but int'),
        ({"type": "image_url", "image_url": {"url": "data:image/png,abc"}}, "not in base64"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}}, "not base64"),
        ({"type": "video_url", "video_url": {}}, 'there is no "url" in it'),
        ({"type": "input_audio", "input_audio": {"data": "?", "format": "wav"}}, "not base64"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA"}}, 'there is no "format" in it'),
        ({"type": "file", "file": {}}, 'neither "file_data" nor "file_id"'),
        ({"type": "file", "file": None}, 'there is no "file" in it'),
        ({"type": "file", "file": {"file_data": "?"}}, "its data is not base64"),
        ({"type": "file", "file": {"file_id": 5}}, 'its "file_id" is not a str, but int'),
    ],
)
def test_wrong_part_is_refused_with_what_is_wrong_and_how_it_should_be(part, why):
    """`is no text part: KeyError` was all that was said."""
    told = refusal(part)
    assert why in told
    if isinstance(part, dict) and part.get("type") in ("text", "image_url", "file"):
        assert f'such a part is {{"type": "{part["type"]}", "{part["type"]}": ' in told


@pytest.mark.parametrize(
    "part", [Text(text=5), Image(), Audio(data="AAAA", format="wav"), Video(), File(), File(id=5)]
)
def test_wrong_typed_part_is_refused_with_its_type(part):
    assert f"is a {type(part).__name__} without what it is to hold" in refusal(part)


def test_refusal_does_not_show_what_was_said():
    for part in ({"type": "text", "text": ["Rex"]}, {"type": "file", "file": {"file_id": ["Rex"]}}):
        assert "Rex" not in refusal(part)


@pytest.mark.parametrize(
    ("part", "read"),
    [
        # Bare, as litellm and others take it.
        ({"type": "image_url", "image_url": "https://x.test/y"}, Image(url="https://x.test/y")),
        (
            {"type": "image_url", "image_url": f"data:image/png;base64,{DATA}"},
            Image(data=PNG, media_type="image/png"),
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://x.test/y", "format": "image/png"}},
            Image(url="https://x.test/y", media_type="image/png"),
        ),
        (
            {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{DATA}"}},
            Video(data=PNG, media_type="video/mp4"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": f"data:;base64,{DATA}", "format": "a"}},
            Audio(data=PNG, format="a"),
        ),
        (
            {"type": "file", "file": {"file_data": "https://x.test/y.pdf", "filename": "y.pdf"}},
            File(url="https://x.test/y.pdf", name="y.pdf"),
        ),
        ({"type": "file", "file": {"file_id": "http://x.test/y"}}, File(url="http://x.test/y")),
        ({"type": "file", "file": {"file_id": "file-1", "file_data": None}}, File(id="file-1")),
        # Base64 alone, as the reference of the OpenAI API has it.
        (
            {"type": "file", "file": {"file_data": DATA, "filename": "y.pdf"}},
            File(data=PNG, media_type="application/pdf", name="y.pdf"),
        ),
        (
            {"type": "file", "file": {"file_data": f"data:text/plain;charset=utf-8;base64,{DATA}"}},
            File(data=PNG, media_type="text/plain;charset=utf-8"),
        ),
    ],
)
def test_part_is_read_in_every_way_that_it_is_written(part, read):
    """A bare URL, base64 alone and a file's URL were refused."""
    assert check_part(part, "here") == read


def test_file_at_a_url_goes_out_as_its_data():
    """So does OpenRouter have it; the other wires have a place of their own for it."""
    file = {"filename": "y.pdf", "file_data": "https://x.test/y.pdf"}
    assert part_to_dict(File(url="https://x.test/y.pdf", name="y.pdf")) == {
        "type": "file",
        "file": file,
    }
