"""Reasoning on its way: from an answer's pieces to a block, and from there into the next turn."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.openai_reasoning import Reasoner, put_back
from router import Reasoning

SEALED = {
    "type": "reasoning.text",
    "text": "Berlin it is.",
    "signature": "sig-1",
    "format": "anthropic-claude-v1",
    "index": 0,
}
SUMMARY = {"type": "reasoning.summary", "summary": "About the weather.", "id": "rs_1", "index": 1}
ENCRYPTED = {"type": "reasoning.encrypted", "data": "b64==", "id": "rs_1", "index": 1}


def gathered(place, *pieces):
    reasoner = Reasoner(place)
    for text, details in pieces:
        reasoner.take(text, details)
    return reasoner.blocks()


def sent_back(place, blocks, **message):
    message = {"role": "assistant", "content": "Hello", **message}
    put_back(message, [msgspec.to_builtins(block) for block in blocks], place)
    return message


@pytest.mark.parametrize("place", ["reasoning_content", "reasoning"])
def test_text_comes_back_under_the_name_of_its_service(place):
    blocks = gathered(place, ("We ", []), ("think.", []))
    assert blocks == [Reasoning(text="We think.")]
    message = sent_back(place, blocks)
    assert message == {"role": "assistant", "content": "Hello", place: "We think."}


def test_thinking_comes_back_as_the_first_part_of_the_content():
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "We think."}]}
    hello = {"type": "text", "text": "Hello"}
    blocks = gathered("thinking", ("We think.", []))
    assert sent_back("thinking", blocks)["content"] == [thinking, hello]
    assert sent_back("thinking", blocks, content=[hello])["content"] == [thinking, hello]
    assert sent_back("thinking", blocks, content=None)["content"] == [thinking]


def test_details_come_back_as_they_came():
    details = [SEALED, SUMMARY, ENCRYPTED]
    blocks = gathered("reasoning_details", ("Berlin it is.", details))
    assert [(block.text, block.signature, block.data) for block in blocks] == [
        ("Berlin it is.", "sig-1", None),
        ("About the weather.", None, None),
        ("", None, "b64=="),
    ]
    assert sent_back("reasoning_details", blocks)["reasoning_details"] == details


@given(cuts=st.lists(st.integers(0, len(SEALED["text"])), max_size=5))
def test_details_in_pieces_are_put_together(cuts):
    places = [0, *sorted(cuts), len(SEALED["text"])]
    texts = [SEALED["text"][start:end] for start, end in pairwise(places)]
    shared = {name: SEALED[name] for name in ("type", "format", "index")}
    pieces = [(text, [{**shared, "text": text, "signature": None}]) for text in texts]
    seal = ("", [{**shared, "signature": "sig-1"}])
    assert gathered("reasoning_details", *pieces, seal) == gathered(
        "reasoning_details", ("", [SEALED])
    )


def test_details_without_a_number_are_blocks_of_their_own():
    piece = {"type": "reasoning.text", "text": "Hm."}
    blocks = gathered("reasoning_details", ("Hm.", [piece, piece]))
    assert [block.text for block in blocks] == ["Hm.", "Hm."]


def test_nothing_is_kept_for_a_service_that_wants_nothing_back():
    assert gathered(None, ("We think.", [SEALED])) == []
    message = sent_back(None, [Reasoning(text="We think.")])
    assert message == {"role": "assistant", "content": "Hello"}


def test_what_the_caller_put_there_by_hand_stays():
    message = sent_back("reasoning", [Reasoning(text="From the block.")], reasoning="By hand.")
    assert message["reasoning"] == "By hand."


def test_block_of_text_alone_becomes_a_detail_of_text():
    message = sent_back("reasoning_details", [Reasoning(text="We think.")])
    assert message["reasoning_details"] == [{"type": "reasoning.text", "text": "We think."}]


def test_blocks_are_told_once():
    reasoner = Reasoner("reasoning")
    reasoner.take("We think.", [])
    assert reasoner.blocks()
    assert reasoner.blocks() == []
