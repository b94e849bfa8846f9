"""Pieces to an answer: what belongs to it, when it is whole, and what can go on from it."""

from __future__ import annotations

import pytest

from router import Choice, Chunk, Citation, Completion, Reasoning, Trace, Usage
from router.answer import Answer
from router.types import ToolCall, ToolCallDelta

BLOCK = Reasoning(text="hm", signature="sealed")
CITED = Citation(url="https://sea.example")
ENDED = Chunk(finish_reason="stop", native_finish_reason="STOP")


def put_together(*chunks: Chunk, expected: int = 1) -> Answer:
    answer = Answer(expected)
    for chunk in chunks:
        answer.add(chunk)
    return answer


def completion(answer: Answer) -> Completion:
    return answer.completion("one/asked", "asked", Trace(request_id="r"), "one/m")


def called(index: int, choice: int = 0, **fields: object) -> Chunk:
    return Chunk(index=choice, tool_call=ToolCallDelta(index=index, **fields))  # type: ignore[arg-type]


def test_an_answer_is_all_of_its_pieces() -> None:
    usage = Usage(input_tokens=1, output_tokens=2)
    found = completion(
        put_together(
            Chunk(id="a", model="m", raw=1),
            Chunk(reasoning="h", raw=0),
            Chunk(reasoning="m", reasoning_block=BLOCK),
            Chunk(text="The", logprobs=(1, 2), usage=Usage(input_tokens=1)),
            Chunk(text=" sea", logprobs=(3,), citation=CITED),
            Chunk(refusal="I "),
            Chunk(refusal="won't", usage=usage),
            ENDED,
        )
    )
    assert found.choices == (
        Choice(
            text="The sea",
            reasoning="hm",
            refusal="I won't",
            reasoning_blocks=(BLOCK,),
            citations=(CITED,),
            logprobs=(1, 2, 3),
            finish_reason="stop",
            native_finish_reason="STOP",
        ),
    )
    assert (found.id, found.model, found.usage, found.raws) == ("a", "m", usage, (1, 0))
    assert (found.target, found.origin) == ("one/asked", "one/m")


def test_an_answer_that_names_no_model_is_by_the_one_that_was_asked() -> None:
    assert completion(put_together(ENDED)).model == "asked"


def test_pieces_of_choices_and_tool_calls_find_each_other_in_any_order() -> None:
    found = completion(
        put_together(
            Chunk(text="b", index=1),
            called(3, id="x", name="dive", custom=True, arguments="deep"),
            called(1, id="y", name="sail", arguments='{"to"'),
            called(1, choice=1, id="z", name="swim"),
            called(1, arguments=":1", signature="sealed"),
            called(1, arguments="}"),
            called(3, arguments="er"),
            Chunk(text="a"),
        )
    )
    first, second = found.choices
    assert (first.index, first.text, second.index, second.text) == (0, "a", 1, "b")
    assert first.tool_calls == (
        ToolCall(id="y", name="sail", arguments='{"to":1}', signature="sealed"),
        ToolCall(id="x", name="dive", arguments="deeper", custom=True),
    )
    assert second.tool_calls == (ToolCall(id="z", name="swim", arguments=""),)


@pytest.mark.parametrize("late", [Chunk(text="more"), Chunk(finish_reason="length")])
def test_what_comes_after_a_finish_reason_is_left_out_and_counted(late: Chunk) -> None:
    answer = put_together(Chunk(text="all"), ENDED)
    assert not answer.add(late)
    assert not answer.add_text("more")
    assert (answer.text, answer.finish_reason, answer.ignored) == ("all", "stop", 2)


def test_usage_may_come_after_the_finish_reason() -> None:
    answer = put_together(Chunk(text="all"), ENDED)
    assert answer.add(Chunk(usage=Usage(output_tokens=1)))
    assert (answer.usage, answer.ignored, answer.finished) == (Usage(output_tokens=1), 0, True)
    [choice] = completion(answer).choices
    assert (choice.finish_reason, choice.native_finish_reason) == ("stop", "STOP")


def test_an_answer_is_finished_when_every_choice_is() -> None:
    answer = put_together(Chunk(text="a"), ENDED, expected=2)
    assert not Answer().finished
    assert not answer.finished, "another choice was asked for"
    answer.add(Chunk(index=1, finish_reason="length"))
    assert answer.finished
    answer.add(Chunk(index=2, text="c"))
    assert not answer.finished, "one more has begun"


def test_content_is_what_is_part_of_the_answer() -> None:
    for chunk in (Chunk(text="a"), Chunk(reasoning="a"), Chunk(refusal="a"), called(0)):
        assert put_together(chunk).has_content
    for chunk in (Chunk(), ENDED, Chunk(usage=Usage()), Chunk(id="a"), Chunk(citation=CITED)):
        assert not put_together(chunk).has_content
    answer = Answer()
    assert not answer.add_text("")
    assert not answer.has_content
    assert answer.add_text("a")
    assert answer.has_content
    assert answer.text == "a"
    answer.add(Chunk())
    assert answer.has_content


@pytest.mark.parametrize(
    "chunk",
    [
        Chunk(id="a"),
        Chunk(model="m"),
        Chunk(finish_reason="stop"),
        Chunk(usage=Usage()),
        Chunk(reasoning_block=BLOCK),
        Chunk(citation=CITED),
        Chunk(logprobs=(1,)),
        Chunk(raw=0),
    ],
)
def test_a_chunk_that_tells_anything_is_delivered(chunk: Chunk) -> None:
    assert Answer().add(chunk)


def test_a_sign_of_life_is_not_delivered() -> None:
    assert not Answer().add(Chunk())
    assert not Answer().add(Chunk(index=1))


def test_only_the_beginning_of_one_text_can_be_continued() -> None:
    text = Chunk(text="The sea")
    assert put_together(Chunk(reasoning="hm"), text).can_be_continued
    for others in ([], [text, called(0)], [text, Chunk(refusal="no")], [text, Chunk(index=1)]):
        assert not put_together(*others).can_be_continued
    assert not put_together(text, expected=2).can_be_continued


def test_an_answer_goes_on_from_what_another_attempt_delivered() -> None:
    begun = put_together(
        Chunk(reasoning="hm", reasoning_block=BLOCK),
        Chunk(text="The", citation=CITED, logprobs=(1,)),
    )
    answer = Answer()
    answer.resume(begun)
    assert not answer.has_content
    answer.add(Chunk(text=" sea", reasoning="!", citation=CITED, logprobs=(2,)))
    [choice] = completion(answer).choices
    assert choice == Choice(
        text="The sea", reasoning="hm!", citations=(CITED, CITED), logprobs=(1, 2)
    )
    assert completion(begun).choices[0].text == "The"
    assert (begun.characters, answer.characters) == (3, 7)
