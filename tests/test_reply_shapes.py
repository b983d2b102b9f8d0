"""What servers of other makes answer, a line each, after their documentation.

llama-server, llama-cpp-python, vLLM, SGLang, TGI, Ollama and LM Studio agree on the interface and
differ in what they leave out, add, and say when something is wrong.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from hpcagent.llm import replies
from hpcagent.llm.http import Response
from hpcagent.llm.replies import BadReply
from hpcagent.llm.tables import ModelChoice

SCHEMA = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}}
GOOD = '{"a":"x"}'
JSON, EVENTS = "application/json", "text/event-stream; charset=utf-8"
PIECES = ["data: " + json.dumps({"choices": [{"delta": {"content": c}}]}) for c in GOOD]
USAGE = 'data: {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 9}}'
LAST = 'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}'


def response(value: Any, status: int = 200, kind: str = JSON) -> Response:
    text = value if isinstance(value, str) else json.dumps(value)
    return Response(status, kind, "", text.encode())


def said(content: Any, finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content, **more}, "finish_reason": finish}]}


def test_a_line_end_within_a_text_is_taken() -> None:
    """The grammar of llama-cpp-python lets it through."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 9}}}
    reply = replies.read(response(said('{"a": "x\ny"}')), schema)
    assert (reply.failure, reply.text) == (None, '{"a":"x\\ny"}')


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        pytest.param(said(GOOD), JSON, id="no usage (old llama-server, gateways)"),
        pytest.param(said(GOOD) | {"usage": None}, JSON, id="usage null (vLLM with streams)"),
        pytest.param(said(GOOD, None), JSON, id="finish_reason null"),
        pytest.param(said(GOOD, "eos_token"), JSON, id="finish_reason of its own (TGI)"),
        pytest.param(said([{"type": "text", "text": GOOD}]), JSON, id="content in parts"),
        pytest.param(
            said([{"type": "thinking", "thinking": []}, {"type": "text", "text": GOOD}]),
            JSON,
            id="a part of thoughts, then text (Mistral)",
        ),
        pytest.param(said(GOOD, reasoning_content="Hm."), JSON, id="reasoning_content (vLLM)"),
        pytest.param(said(GOOD, reasoning="Hm."), JSON, id="reasoning (Ollama)"),
        pytest.param(said(f"Hm.\n</think>\n\n{GOOD}"), JSON, id="thoughts that a template began"),
        pytest.param(said(None, reasoning_content=GOOD), JSON, id="taken for thoughts (vLLM)"),
        pytest.param(said(f"{GOOD}\n\n", "length"), JSON, id="blanks up to the last token"),
        pytest.param(said(GOOD, tool_calls=[], refusal=None), JSON, id="empty fields (SGLang)"),
        pytest.param(said('{ "a" : "x"} \n'), JSON, id="blanks in JSON (llama-cpp-python)"),
        pytest.param("\n\n".join([*PIECES, LAST, "data: [DONE]"]), EVENTS, id="a stream"),
        pytest.param(
            "\r\n\r\n".join([": ping", "data: {}", *PIECES, LAST, USAGE, "data: [DONE]"]),
            EVENTS,
            id="a stream with comments and usage",
        ),
        pytest.param(
            'data: {"choices": [{"message": {"content": "{\\"a\\":\\"x\\"}"}}]}\n\ndata: [DONE]',
            EVENTS,
            id="a stream of one whole message",
        ),
        pytest.param(
            "\r\r".join(each.replace('"content"', '"reasoning"') for each in (*PIECES, LAST)),
            EVENTS,
            id="a stream that is taken for thoughts",
        ),
        pytest.param(
            "\n\n".join(
                ["\ufeff" + PIECES[0], *PIECES[1:], f"data: {json.dumps(said(GOOD))}", LAST]
            ),
            EVENTS,
            id="a stream with a mark of the byte order that ends with the whole message",
        ),
        pytest.param(
            "\n\n".join(
                f"data: {json.dumps(json.loads(each[6:]) | {'error': None})}"
                for each in (*PIECES, LAST)
            ),
            EVENTS,
            id="a stream with a field for errors",
        ),
        pytest.param("\ufeff" + json.dumps(said(GOOD)), JSON, id="a mark of the byte order"),
    ],
)
def test_answers_of_all_makes_are_read(value: Any, kind: str) -> None:
    reply = replies.read(response(value, kind=kind), SCHEMA)
    assert (reply.failure, json.loads(reply.text)) == (None, {"a": "x"})


@pytest.mark.parametrize(
    ("value", "kind", "failure", "words"),
    [
        (said(None, refusal="I can't."), JSON, "invalid", "it refuses: I can't."),
        (said("", "length", reasoning_content="Hm"), JSON, "invalid", "went into thinking"),
        (said([]), JSON, "invalid", "the answer is empty"),
        (said('{"a":', "length"), JSON, "truncated", "no end"),
        (said(None, reasoning_content='{"a":"z"}'), JSON, "invalid", "the answer is empty"),
        ("\n\n".join(PIECES[:4]), EVENTS, "truncated", "no end"),
        ("", EVENTS, "invalid", "all its tokens went into thinking"),
        (said("", "content_filter"), JSON, "invalid", "a filter of the server"),
        (LAST.replace("{}", '{"tool_calls": [{"index": 0}]}'), EVENTS, "invalid", "calls a tool"),
        (LAST.replace("{}", '{"reasoning": "Hm."}'), EVENTS, "invalid", "for thoughts"),
    ],
)
def test_answers_that_are_none_are_failures(
    value: Any, kind: str, failure: str, words: str
) -> None:
    reply = replies.read(response(value, kind=kind), SCHEMA)
    assert reply.failure is not None
    assert reply.failure.kind == failure
    assert words in reply.failure.evidence


@pytest.mark.parametrize(
    ("value", "failure", "words"),
    [
        ({"error": "Unexpected endpoint or method."}, "http", "status 200: Unexpected endpoint"),
        ({"error": {"message": "model not loaded", "code": 1}}, "http", "model not loaded"),
        ({"object": "error", "message": "no such model", "code": 404}, "http", "no such model"),
        ({"detail": [{"msg": "Field required"}]}, "http", "Field required"),
        ({"error": {"message": "exceeds the context length"}}, "context_overflow", "context"),
        ({"message": "upstream is down", "code": 502}, "http", "upstream is down"),
        ({"choices": None, "usage": None}, "invalid", "no choices"),
    ],
)
def test_errors_with_the_status_of_a_success_are_told(value: Any, failure: str, words: str) -> None:
    with pytest.raises(BadReply, match=words) as caught:
        replies.read(response(value), SCHEMA)
    assert caught.value.kind == failure


def test_an_error_within_a_stream_is_told() -> None:
    """llama-server begins a stream with status 200 before it has looked at the prompt."""
    text = 'data: {"error": {"code": 400, "message": "exceeds the available context size"}}\n\n'
    with pytest.raises(BadReply, match=r"status 200: .*available context size") as caught:
        replies.read(response(text, kind=EVENTS), SCHEMA)
    assert caught.value.kind == "context_overflow"


def test_an_event_that_is_an_error_is_told_and_not_asked_again() -> None:
    """By its name alone: what it carries has no key that says so."""
    answer = response('event: error\ndata: {"message": "boom", "code": 500}\n\n', kind=EVENTS)
    with pytest.raises(BadReply, match="boom"):
        replies.read(answer, SCHEMA)
    assert not replies.only_thoughts(answer)


@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\u2029"])
def test_only_ends_of_lines_part_a_stream(odd: str) -> None:
    """Servers that do not escape what is not ASCII send these as they are, and text was lost."""
    pieces = [{"choices": [{"delta": {"content": piece}}]} for piece in ("one", f"{odd}two", "3")]
    lines = [f"data: {json.dumps(piece, ensure_ascii=False)}" for piece in pieces]
    reply = replies.read(response("\n\n".join([*lines, LAST]), kind=EVENTS), None)
    assert (reply.text, reply.failure) == (f"one{odd}two3", None)


@pytest.mark.parametrize("half", ["\\ud800", "\\udcff"])
def test_halves_of_characters_are_replaced(half: str) -> None:
    """Nobody could write them down."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 9}}}
    free = replies.read(
        response(f'{{"choices": [{{"message": {{"content": "x{half}y"}}}}]}}'), None
    )
    assert free.text == "x?y"
    assert replies.read(response(said(f'{{"a": "x{half}y"}}')), schema).text == '{"a":"x?y"}'
    pair = replies.read(response(said('{"a": "\\ud83d\\ude00"}')), schema)
    assert json.loads(pair.text) == {"a": "\U0001f600"}


@pytest.mark.parametrize(
    ("status", "value", "again"),
    [
        (400, {"error": {"message": "unsupported response_format"}}, True),
        (422, {"error": "unknown variant `json_schema`", "error_type": "x"}, True),
        (500, {"error": {"message": "('body', 'response_format', 'type')"}}, True),
        (500, {"error": {"message": "out of memory"}}, False),
        (422, {"error": "`inputs` must have less than 4096 tokens."}, False),
        (400, {"error": {"message": "maximum context length is 8192 tokens"}}, False),
        (200, said(GOOD), False),
    ],
)
def test_a_refused_format_is_known_from_other_errors(status: int, value: Any, again: bool) -> None:
    assert replies.refuses_format(response(value, status)) is again


@pytest.mark.parametrize(
    ("status", "value", "kind", "words"),
    [
        (
            404,
            {"error": {"message": 'model "x" not found', "type": "api_error"}},
            "http",
            '"x" not',
        ),
        (404, {"detail": "Not Found"}, "http", "name\\? Not Found"),
        (422, {"error": "`inputs` must have less than 9 tokens"}, "context_overflow", "less than"),
        (424, {"error": "Request failed", "error_type": "generation"}, "http", "Request failed"),
        (413, "", "context_overflow", "refused the prompt: status 413"),
        (503, {"error": {"message": "Loading model"}}, "busy", "no room now: Loading model"),
        (401, {"error": "Unauthorized"}, "unauthorised", "key in LAB_KEY the right one"),
    ],
)
def test_errors_are_told_in_the_words_of_the_server(
    status: int, value: Any, kind: str, words: str
) -> None:
    with pytest.raises(BadReply, match=words) as caught:
        replies.require_ok(response(value, status), ModelChoice(api_key_env="LAB_KEY"))
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("ids", "name", "found"),
    [
        (["llama3:latest", "qwen3:8b"], "llama3", "llama3:latest"),  # Ollama takes both
        (["llama3:latest"], "", "llama3:latest"),
        (["llama3", "llama3:latest"], "llama3", "llama3"),
    ],
)
def test_a_model_is_found_by_the_name_that_its_server_takes(
    ids: list[str], name: str, found: str
) -> None:
    assert replies.entry(response({"data": [{"id": each} for each in ids]}), name)["id"] == found


@pytest.mark.parametrize(
    "text",
    ["<think>\n```c f.c\nint draft;\n```\n</think>\n\nHere.", "Hm. </think> Here.", "Here."],
)
def test_thoughts_are_left_out_of_free_answers(text: str) -> None:
    """They hold drafts of what is asked for, fences and all."""
    reply = replies.read(response(said(text)), None)
    assert (reply.text, reply.failure) == ("Here.", None)


@pytest.mark.parametrize(
    "value", [said("<think>Hm."), said("", reasoning_content="Hm."), said(None, reasoning="Hm.")]
)
def test_thoughts_alone_are_no_free_answer(value: Any) -> None:
    failure = replies.read(response(value), None).failure
    assert failure is not None and failure.kind == "invalid"
    assert "takes all that it wrote for thoughts" in failure.evidence
