"""What comes back on Gemini's wire, whole and in streams, without any I/O."""

import json

import pytest
from emulators.chat import Played, split
from emulators.gemini import USAGE, called, events, reply, text
from features import emulated
from hypothesis import given
from hypothesis import strategies as st

from providers.gemini import Gemini
from providers.gemini_answers import FINISH_REASONS
from providers.gemini_requests import MADE, conversation
from router import (
    Chunk,
    Citation,
    ContentFiltered,
    HttpResponse,
    Message,
    ProtocolError,
    Reasoning,
    ToolCall,
    Usage,
)

QUESTION = (Message(role="user", content="Say hello."),)


def played(body, stream=True):
    return Played(Gemini(key="a-key"), body, stream=stream, messages=QUESTION)


def whole(*replies):
    """The completion of a whole answer, of a stream, and of a stream as a list: all the same."""
    body = json.dumps(replies[0] if len(replies) == 1 else replies).encode()
    listed = json.dumps(replies).encode()
    results = [
        played(body, stream=False).completion,
        played(events(*replies)).completion,
        played(listed).completion,
    ]
    assert results[0].choices == results[1].choices == results[2].choices
    assert results[0].usage == results[1].usage == results[2].usage
    return results[0]


HELLO, THERE = reply(text("Hello")), reply(text(" there"))
STOP = reply(text(""), finish="STOP", usage=USAGE)
ONE = reply(text("Hello there"), finish="STOP", usage=USAGE)

STREAMS = {
    "plain": events(HELLO, THERE, STOP),
    "all at once": events(ONE),
    "LF": events(HELLO, THERE, STOP, end="\n\n"),
    "the last line unended": events(HELLO, THERE, STOP)[:-4],
    "usage in every reply": events(
        reply(text("Hello"), usage={**USAGE, "candidatesTokenCount": 1}), THERE, STOP
    ),
    "a usage that counts nothing": events(
        reply(text("Hello"), usage={"trafficType": "ON_DEMAND"}), THERE, STOP
    ),
    "a finish reason in every reply": events(
        reply(text("Hello"), finish="STOP"), reply(text(" there"), finish="STOP"), STOP
    ),
    "usage behind the finish": events(
        HELLO, THERE, reply(finish="STOP"), {"usageMetadata": USAGE, "candidates": []}
    ),
    "a finish without a content": events(
        HELLO, THERE, {"candidates": [{"finishReason": "STOP"}], "usageMetadata": USAGE}
    ),
    "an empty feedback": events({**HELLO, "promptFeedback": {"safetyRatings": []}}, THERE, STOP),
    "nulls": events(
        {"candidates": None, "usageMetadata": None, "promptFeedback": None, "error": None},
        reply({"text": "Hello", "thought": None, "thoughtSignature": None}),
        *(
            THERE,
            {**STOP, "candidates": [{"content": None, "finishReason": "STOP", "index": None}]},
        ),
    ),
    "comments": b": hi\r\n\r\n" + events(HELLO, THERE) + b": hi\r\n\r\n" + events(STOP),
    "fields of tomorrow": events({**HELLO, "mood": {"a": 1}}, reply(text(" there", b=[1])), STOP),
    "a list": json.dumps([HELLO, THERE, STOP], indent=2).encode(),
    "a whole answer": json.dumps(ONE, indent=2).encode(),
}
"""The same answer in many forms."""


@emulated("gemini", "whole answers", "streaming")
@pytest.mark.parametrize("body", STREAMS.values(), ids=STREAMS.keys())
def test_stream_is_the_same_answer_in_every_form(body):
    completion = played(body).completion
    assert completion.text == "Hello there"
    assert (completion.finish_reason, completion.choices[0].native_finish_reason) == (
        "stop",
        "STOP",
    )
    assert completion.usage == Usage(input_tokens=12, output_tokens=6)
    assert completion.id == "r-1"
    assert completion.model == "gemini-3.5-flash-001"


def test_finish_reason_beside_the_text_says_that_the_answer_may_be_over():
    """Whether more would come was waited for as in the middle of an answer."""
    assert Chunk(native_finish_reason="STOP") in played(events(ONE)).pieces
    once = events(HELLO, THERE, STOP)
    assert Chunk(native_finish_reason="STOP") not in played(once).pieces


def test_picture_is_content():
    """It committed to nothing: a stream of pictures was begun anew elsewhere when it broke."""
    picture = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    completion = whole(reply(picture), STOP)
    assert completion.choices[0].media
    assert completion.choices[0].reasoning_blocks[0].extra["part"] == picture
    assert not completion.empty
    first = next(each for each in played(events(reply(picture), STOP)).pieces if each.has_content)
    assert first.reasoning_block is not None


FULL = events(
    reply(text("Hm. ☀", thought=True)),
    reply(text("Grüße 🌊"), text("!", thoughtSignature="s1")),
    reply(called("sun", {"city": "Gent", "ü": 1}, seal="s2"), called("sea")),
    reply(text(""), finish="STOP", usage=USAGE),
)


@given(body=st.sampled_from([*STREAMS.values(), FULL]), cuts=st.lists(st.integers(0), max_size=20))
def test_stream_does_not_depend_on_how_its_bytes_are_split(body, cuts):
    assert played(split(body, cuts)).pieces == played(body).pieces


def test_stream_may_come_byte_by_byte():
    assert played([FULL[i : i + 1] for i in range(len(FULL))]).pieces == played(FULL).pieces


def ending(*replies):
    """The finish reason that is told before the stream has ended, if one is."""
    steps = Gemini(key="k").create_completion("m", list(QUESTION), True)
    next(steps)
    response = HttpResponse(200, {}, streamed=True)
    assert steps.send(response) is response
    step, reasons = steps.send(events(*replies)), []
    while step is not response:
        reasons += [step.finish_reason] if isinstance(step, Chunk) else []
        step = next(steps)
    return next(filter(None, reasons), None)


def test_finish_is_told_at_once_where_the_server_does_not_end_every_reply():
    """It was told when the stream ended: a server that did not close it was waited for."""
    assert ending(HELLO, THERE, STOP) == "stop"
    assert ending(HELLO, ONE) == "stop"
    assert ending(reply(called("sun")), STOP) == "tool_calls"
    assert ending(reply(text("Hm.", thought=True)), STOP) == "stop"


def test_finish_is_told_late_where_it_may_not_be_the_last():
    each = reply(text("Hello"), finish="STOP")
    assert ending(each, each) is None
    assert ending(ONE) is None
    assert ending(STOP, STOP, ONE) is None


def test_finish_reason_before_the_text_is_none():
    """Some proxies put one at empty replies: a stream that was cut behind it seemed whole."""
    early = reply(finish="STOP")
    cut = played(events(early, early, HELLO))
    assert cut.completion.finish_reason is None
    completion = played(events(early, early, HELLO, THERE, STOP)).completion
    assert (completion.text, completion.finish_reason) == ("Hello there", "stop")


def test_sources_that_come_with_the_finish_are_told_before_it():
    found = {"groundingMetadata": {"groundingChunks": [{"web": {"uri": "http://sea.test"}}]}}
    body = events(HELLO, reply(text(" there"), finish="STOP", **found), {"usageMetadata": USAGE})
    (citation,) = played(body).completion.choices[0].citations
    assert citation.url == "http://sea.test"
    used = Usage(input_tokens=12, output_tokens=6, priced_otherwise=True)
    assert played(body).completion.usage == used


def test_text_comes_as_str_as_soon_as_it_is_there():
    pieces = played(STREAMS["plain"]).pieces
    assert [piece for piece in pieces if isinstance(piece, str)] == ["Hello", " there"]


def test_id_and_model_are_told_once():
    pieces = [piece for piece in played(STREAMS["plain"]).pieces if isinstance(piece, Chunk)]
    assert [(p.id, p.model) for p in pieces if p.id or p.model] == [("r-1", "gemini-3.5-flash-001")]


def test_comment_is_a_sign_of_life():
    assert played(STREAMS["comments"]).pieces[0] == Chunk()


# -- ends


@pytest.mark.parametrize("word", [*FINISH_REASONS, "MALFORMED_FUNCTION_CALL", "OF_TOMORROW"])
def test_finish_reason_is_one_of_ours_beside_the_wires_own(word):
    choice = whole(reply(text("Hi"), finish=word)).choices[0]
    assert choice.finish_reason == FINISH_REASONS.get(word, "other")
    assert choice.native_finish_reason == word


def test_finish_with_calls_is_one_of_tool_calls_unless_it_was_cut():
    assert whole(reply(called("sun"), finish="STOP")).finish_reason == "tool_calls"
    assert whole(reply(called("sun"), finish="MAX_TOKENS")).finish_reason == "length"


def test_prompt_that_is_refused_is_an_error():
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": USAGE}
    for error in (
        played(events(blocked)).error,
        played(json.dumps(blocked).encode(), stream=False).error,
    ):
        assert (type(error), error.code) == (ContentFiltered, "PROHIBITED_CONTENT")


def test_stream_without_a_finish_reason_ends_without_one():
    """The host makes an error of that."""
    result = played(events(HELLO, THERE))
    assert result.error is None
    assert not [p for p in result.pieces if isinstance(p, Chunk) and p.finish_reason]


def test_whole_answer_without_a_finish_reason_is_none():
    error = played(json.dumps(HELLO).encode(), stream=False).error
    assert (type(error), error.code) == (ProtocolError, "no_finish_reason")


def test_error_behind_the_finish_reason_changes_nothing():
    assert played(events(ONE) + b"data: {\r\n\r\n").completion.text == "Hello there"


def test_error_before_the_finish_reason_of_one_choice_is_one():
    second = reply(text("Bye"), index=1)
    assert type(played(events(ONE, second) + b"data: {\r\n\r\n").error) is ProtocolError


BROKEN = {
    "nothing": b"",
    "blanks": b" \r\n",
    "HTML": b"<html>Sign in</html>",
    "text": b"no events here\n\n",
    "broken JSON": b'data: {"candidates": [\n\n',
    "a list that is cut": json.dumps([HELLO, STOP]).encode()[:-1],
    "no candidates": b"{}",
    "an empty list": b"[]",
    "a candidate that is none": b'data: {"candidates": [7]}\n\n',
    "a part that is none": events(reply(7)),
    "text that is none": events(reply({"text": 7})),
    "bytes that are not UTF-8": b"data: \xff\n\n",
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_body_that_is_no_answer_is_an_error(body):
    assert type(played(body).error) is ProtocolError


# -- parts


def test_thoughts_are_reasoning_and_no_text():
    completion = whole(reply(text("Hm. ", thought=True)), reply(text("Hi"), finish="STOP"))
    assert (completion.reasoning, completion.text) == ("Hm. ", "Hi")
    assert completion.choices[0].reasoning_blocks == ()


def test_seals_are_blocks_with_their_place_in_the_text():
    blocks = (
        whole(
            reply(text("Hm.", thought=True, thoughtSignature="s1")),
            reply(text("One."), text(" Two.", thoughtSignature="s2")),
            reply({"thoughtSignature": "s3"}, finish="STOP"),
        )
        .choices[0]
        .reasoning_blocks
    )
    assert blocks == (
        Reasoning(text="Hm.", signature="s1", extra={"start": 0, "end": 0}),
        Reasoning(signature="s2", extra={"start": 4, "end": 9}),
        Reasoning(signature="s3", extra={"start": 9, "end": 9}),
    )


def test_call_comes_with_its_id_and_its_seal():
    (call,) = whole(
        reply(called("sun", {"b": 1, "a": 2}, seal="s", id="j80"), finish="STOP")
    ).tool_calls
    assert call == ToolCall(id="j80", name="sun", arguments='{"b": 1, "a": 2}', signature="s")


def test_calls_without_ids_get_one_each_which_is_the_same_at_every_reading():
    body = (reply(called("sun"), called("sun", {})), reply(called("sea"), finish="STOP"))
    calls = whole(*body).tool_calls
    assert [call.id for call in calls] == [f"{MADE}r-1-{n}" for n in (1, 2, 3)]
    assert [call.arguments for call in calls] == ["{}", "{}", "{}"]


def test_calls_of_an_answer_without_an_id_have_one_all_the_same():
    def unnamed():
        body = reply(called("sun"), called("sea"), finish="STOP")
        del body["responseId"]
        return played(events(body)).completion.tool_calls

    ids = [call.id for call in (*unnamed(), *unnamed())]
    assert len(set(ids)) == 4
    assert all(each.startswith(MADE) for each in ids)


def test_call_without_arguments_has_an_empty_object():
    nothing = {"functionCall": {"name": "sun", "args": None}}
    calls = whole(reply(called("sea"), nothing, finish="STOP")).tool_calls
    assert [call.arguments for call in calls] == ["{}", "{}"]


def piece(path, going_on=True, **value):
    return {
        "functionCall": {"partialArgs": [{"jsonPath": path, **value}], "willContinue": going_on}
    }


def test_call_in_pieces_has_its_arguments_in_the_end():
    (sun, sea) = whole(
        reply(called("sun", willContinue=True, seal="s")),
        reply(piece("$.city", stringValue="Gh", willContinue=True)),
        reply(piece("$.city", stringValue="ent")),
        reply(piece("$.days[0].n", numberValue=1), piece("$.days[0]['is ok']", boolValue=True)),
        reply(piece("$.days[1]", nullValue=None), piece('$["x"]', numberValue=1.5)),
        reply({"functionCall": {}}),
        reply(called("sea", willContinue=True)),
        reply(piece("$.deep", going_on=False, stringValue="yes")),
        reply(finish="STOP"),
    ).tool_calls
    assert (sun.name, sun.signature, sun.parsed()) == (
        "sun",
        "s",
        {"city": "Ghent", "days": [{"n": 1, "is ok": True}, None], "x": 1.5},
    )
    assert (sea.name, sea.parsed()) == ("sea", {"deep": "yes"})


def test_call_in_pieces_that_nobody_ends_is_ended_by_what_follows():
    calls = whole(
        reply(called("sun", willContinue=True)),
        reply(piece("$.a", stringValue="b")),
        reply(called("sea", willContinue=True)),
        reply(finish="STOP"),
    ).tool_calls
    assert [(call.name, call.parsed()) for call in calls] == [("sun", {"a": "b"}), ("sea", {})]


@pytest.mark.parametrize(
    "path", ["", "a", "$", "$.", "$.a[", "$.a[1]", "$[0]", "$.a.b.c[x]", "$..a"]
)
def test_path_that_leads_nowhere_is_malformed(path):
    begun = reply(called("sun", willContinue=True))
    assert type(played(events(begun, reply(piece(path, stringValue="b")))).error) is ProtocolError


def test_path_through_a_value_is_malformed():
    begun = reply(called("sun", willContinue=True), piece("$.a", stringValue="b"))
    for path in ("$.a.b", "$.a[0]"):
        error = played(events(begun, reply(piece(path, stringValue="c")))).error
        assert type(error) is ProtocolError


@given(
    st.dictionaries(
        st.text("abc üß", min_size=1, max_size=3),
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
        max_size=4,
    )
)
def test_arguments_in_pieces_are_those_that_were_meant(arguments):
    kinds = {bool: "boolValue", int: "numberValue", str: "stringValue", type(None): "nullValue"}
    pieces = [piece(f"$['{key}']", **{kinds[type(v)]: v}) for key, v in arguments.items()]
    begun = called("sun", willContinue=True)
    (call,) = played(events(reply(begun, *pieces), reply(finish="STOP"))).completion.tool_calls
    assert call.parsed() == arguments


def test_seal_of_a_part_without_a_name_is_told():
    """It was hidden within the part."""
    run = {"executableCode": {"code": "1+1"}, "thoughtSignature": "c2VhbA=="}
    (block,) = whole(reply(run, finish="STOP")).choices[0].reasoning_blocks
    assert (block.signature, block.extra["part"]) == ("c2VhbA==", run)


RUN = {"executableCode": {"language": "PYTHON", "code": "1+1"}}
RAN = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}, "thoughtSignature": "s"}


def test_parts_without_a_name_here_are_kept_in_their_place():
    blocks = (
        whole(reply(text("So: "), RUN, RAN), reply(text("2"), finish="STOP"))
        .choices[0]
        .reasoning_blocks
    )
    assert [block.extra for block in blocks] == [
        {"start": 4, "end": 4, "part": RUN},
        {"start": 4, "end": 4, "part": RAN},
    ]


def test_answer_goes_back_as_it_came():
    parts = [
        text("Hm.", thought=True, thoughtSignature="s1"),
        text("So: ", thoughtSignature="s2"),
        *(RUN, RAN, text("2")),
        called("sun", {"ü": [1, {"a": None}]}, seal="s3", id="x"),
        called("sea", {}, id="y"),
    ]
    message = whole(reply(*parts, finish="STOP")).to_message()
    (turn,) = conversation([message], old=False)["contents"]
    assert turn == {"role": "model", "parts": parts}


@emulated("gemini", "several answers")
def test_several_choices_are_told_apart():
    choices = whole(
        reply(text("Hi")),
        reply(text("Hm."), called("sun"), index=1),
        reply(text(" you"), finish="STOP"),
        reply(text("!", thoughtSignature="s"), index=1, finish="STOP"),
    ).choices
    assert [(c.text, c.finish_reason) for c in choices] == [
        ("Hi you", "stop"),
        ("Hm.!", "tool_calls"),
    ]
    assert choices[1].reasoning_blocks[0].extra == {"start": 3, "end": 4}


@emulated("gemini", "log probabilities")
def test_log_probabilities_come_with_their_alternatives():
    chosen = [{"token": "Hi", "tokenId": 7, "logProbability": -0.5}, {"token": "!"}]
    tops = [{"candidates": [{"token": "Hi"}, {"token": "Ho"}]}]
    told = {"chosenCandidates": chosen, "topCandidates": tops}
    choice = whole(reply(text("Hi!"), finish="STOP", logprobsResult=told)).choices[0]
    assert choice.logprobs == ({**chosen[0], "topCandidates": tops[0]["candidates"]}, chosen[1])


def test_raw_holds_what_has_no_name():
    rated = {**STOP, "mood": "sunny"}
    assert played(events(HELLO, rated)).completion.raw == rated
    assert played(json.dumps(rated).encode(), stream=False).completion.raw == rated


# -- usage


@emulated("gemini", "cached tokens")
@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (
            {**USAGE, "thoughtsTokenCount": 5, "cachedContentTokenCount": 4},
            Usage(input_tokens=12, output_tokens=11, reasoning_tokens=5, cached_tokens=4),
        ),
        (
            {**USAGE, "toolUsePromptTokenCount": 100},
            Usage(input_tokens=112, output_tokens=6),
        ),
        (
            {**USAGE, "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 6}]},
            Usage(input_tokens=12, output_tokens=6),
        ),
        (
            {"promptTokenCount": 9, "thoughtsTokenCount": 5},
            Usage(input_tokens=9, output_tokens=5, reasoning_tokens=5),
        ),
        ({"candidatesTokenCount": 3}, Usage(output_tokens=3)),
        (
            {
                **USAGE,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 2},
                    {"modality": "AUDIO", "tokenCount": 7},
                ],
                "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 2}],
            },
            Usage(input_tokens=12, output_tokens=6, audio_tokens=9, priced_otherwise=True),
        ),
        ({"trafficType": "ON_DEMAND"}, None),
    ],
)
def test_usage_counts_thoughts_and_searches_into_the_whole(told, wanted):
    assert whole(reply(text("Hi"), finish="STOP", usage=told)).usage == wanted


@pytest.mark.parametrize(("found", "otherwise"), [([], False), ([{"web": {"uri": "a"}}], True)])
def test_search_is_not_priced_by_its_tokens(found, otherwise):
    """It was charged as if it were free."""
    grounded = reply(text("Hi"), finish="STOP", usage=USAGE)
    grounded["candidates"][0]["groundingMetadata"] = {"groundingChunks": found}
    assert whole(grounded).usage.priced_otherwise is otherwise


# -- sources

SEA = {"web": {"uri": "https://sea.example", "title": "Sea"}}
SUN = {"retrievedContext": {"uri": "gs://sun", "title": "Sun", "text": "It shines."}}


def support(start, end, *numbers, said=None):
    segment = {"startIndex": start, "endIndex": end, **({"text": said} if said else {})}
    return {"segment": segment, "groundingChunkIndices": list(numbers)}


@emulated("gemini", "citations")
def test_sources_are_cited_with_the_place_that_rests_on_them_in_characters():
    grounding = {
        "groundingChunks": [SEA, SUN],
        "groundingSupports": [support(0, 7, 0, said="Grüße"), support(8, 13, 0, 1, said="Meer.")],
    }
    citations = (
        whole(reply(text("Grüße Meer."), finish="STOP", groundingMetadata=grounding))
        .choices[0]
        .citations
    )
    sea = Citation(url="https://sea.example", title="Sea", raw=SEA)
    assert [(c.url, c.start, c.end) for c in citations] == [
        (sea.url, 0, 5),
        (sea.url, 6, 11),
        ("gs://sun", 6, 11),
    ]
    assert citations[2].quote == "It shines."
    assert citations[0].raw == SEA


def test_source_of_no_piece_is_cited_without_a_place():
    grounding = {"groundingChunks": [SEA], "groundingSupports": [support(0, 2, 5)]}
    (citation,) = (
        whole(reply(text("Hi"), finish="STOP", groundingMetadata=grounding)).choices[0].citations
    )
    assert citation == Citation(url="https://sea.example", title="Sea", raw=SEA)


def test_place_that_is_counted_within_a_later_part_is_found_by_its_text():
    grounding = {
        "groundingChunks": [SEA],
        "groundingSupports": [support(0, 4, 0, said="Two."), support(0, 4, 0, said="Gone")],
    }
    citations = (
        whole(reply(text("One. "), text("Two."), finish="STOP", groundingMetadata=grounding))
        .choices[0]
        .citations
    )
    assert [(c.start, c.end) for c in citations] == [(5, 9), (None, None)]


def test_sources_of_a_stream_may_come_twice_or_in_pieces():
    first = {"groundingChunks": [SEA]}
    second = {"groundingSupports": [support(0, 2, 0)]}
    citations = (
        whole(
            reply(text("Hi"), groundingMetadata=first),
            reply(groundingMetadata={}),
            reply(groundingMetadata={**first, **second}),
            reply(groundingMetadata=second, finish="STOP"),
        )
        .choices[0]
        .citations
    )
    assert [(c.url, c.start, c.end) for c in citations] == [("https://sea.example", 0, 2)]


@pytest.mark.parametrize("found", [SUN, SEA])
def test_sources_of_a_streams_searches_are_numbered_through(found):
    """The second search's were looked for among those of the last reply alone."""
    grounding = {"groundingChunks": [found], "groundingSupports": [support(0, 2, 1)]}
    citations = (
        whole(
            reply(text("Hi"), groundingMetadata={"groundingChunks": [SEA]}),
            reply(finish="STOP", groundingMetadata=grounding),
        )
        .choices[0]
        .citations
    )
    assert (citations[0].raw, citations[0].start, citations[0].end) == (found, 0, 2)
    assert [c.raw for c in citations[1:]] == ([] if found is SEA else [SEA])


@pytest.mark.parametrize("name", ["citationSources", "citations"])
def test_passages_that_it_recites_are_cited(name):
    passage = {"startIndex": 0, "endIndex": 3, "uri": "https://a.example", "license": "mit"}
    (citation,) = (
        whole(reply(text("Für mich"), finish="STOP", citationMetadata={name: [passage]}))
        .choices[0]
        .citations
    )
    assert (citation.url, citation.start, citation.end) == ("https://a.example", 0, 2)
    assert citation.raw["license"] == "mit"


def test_source_with_an_address_that_is_none_has_none():
    """It was told as it came, whatever it was."""
    grounding = {"groundingChunks": [{"web": {"uri": {"a": 1}, "title": 5}}]}
    body = events(reply(text("Hi"), finish="STOP", groundingMetadata=grounding))
    (citation,) = played(body).completion.choices[0].citations
    assert (citation.url, citation.title) == (None, None)


@given(said=st.text(max_size=30), start=st.integers(-3, 50), end=st.integers(-3, 50))
def test_any_place_is_within_the_text(said, start, end):
    grounding = {"groundingChunks": [SEA], "groundingSupports": [support(start, end, 0)]}
    body = events(reply(text(said), finish="STOP", groundingMetadata=grounding))
    (citation,) = played(body).completion.choices[0].citations
    assert 0 <= citation.start <= len(said)
    assert 0 <= citation.end <= len(said)
