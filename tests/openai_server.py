"""A small OpenAI-compatible server for tests: a real model behind it, or a way to misbehave.

It speaks the two calls that hpcagent makes, GET {base}/models and POST {base}/chat/completions,
over TCP or a unix socket. `mode` is one of those below; "" answers as a good server does.
"""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from hpcagent.protocols import LanguageModel
from hpcagent.records import Limits, Message

NAME = "tiny"
CERTIFICATE = Path(__file__).parent / "fixtures" / "tls" / "cert.pem"
MODES = (
    "hangs", "drips", "drips_headers", "not_http", "closes", "html", "no_json", "a_list",
    "invalid_utf8", "gigabytes", "announces_gigabytes", "endless_headers", "breaks_off", "gzip",
    "redirects", "odd_protocol", "status_401", "status_404", "status_429", "status_500", "overflow",
    "no_choices", "no_message", "tool_calls", "empty", "thinking_only", "length", "lies",
    "prose", "fenced", "thoughts", "no_formats", "json_object_only", "odd_usage",
    "thinks",
)  # fmt: skip


class Server:
    """`answer` gives the text for messages and schema (None: none was asked for)."""

    def __init__(self, answer: Callable[[list[Message], Any, int, int], str]) -> None:
        self.answer = answer
        self.mode = ""
        self.context = 10**6  # tokens of an answer that it would let begin
        self.models = [{"id": NAME, "object": "model", "created": 1, "owned_by": "test"}]
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.url = ""
        self.stopping = threading.Event()


def by_model(model: LanguageModel) -> Callable[[list[Message], Any, int, int], str]:
    """Answers of a real model, one call at a time."""
    lock = threading.Lock()

    def answer(messages: list[Message], schema: Any, tokens: int, seed: int) -> str:
        with lock:
            reply = model.complete(messages, _plain(schema), Limits(tokens, 120.0), seed)
        return reply.text

    return answer


@contextmanager
def serving(server: Server, path: Path | None = None, tls: bool = False) -> Iterator[Server]:
    """Serve on a free port of 127.0.0.1, or on the unix socket `path`, until the block ends; with
    `tls` under the certificate in fixtures/tls, which it signed itself."""
    kind = _Tcp if path is None else _Unix
    listening = kind(str(path) if path else ("127.0.0.1", 0), _handler(server))
    server.url = f"unix:{path}" if path else f"http://127.0.0.1:{listening.server_address[1]}/v1"
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE, CERTIFICATE.with_name("key.pem"))
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        server.url = server.url.replace("http:", "https:")
    thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        listening.shutdown()
        listening.server_close()
        thread.join()


class _Tcp(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 16


class _Unix(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def _plain(schema: Any) -> Any:
    """The schema without what only says that everything is required."""
    if isinstance(schema, dict):
        dropped = ("required", "additionalProperties")
        return {k: _plain(v) for k, v in schema.items() if k not in dropped}
    return [_plain(each) for each in schema] if isinstance(schema, list) else schema


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.keys.append(self.headers.get("Authorization", ""))
            if self.path.endswith("/models"):
                self._json({"object": "list", "data": server.models})
            else:
                self._json({"error": {"message": "no such page"}}, 404)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append(body)
            server.keys.append(self.headers.get("Authorization", ""))
            if body["max_tokens"] > server.context:
                self._overflow(body)
                return
            odd = getattr(self, f"_{server.mode}", None)
            if odd is not None:
                odd(body)
                return
            form = body.get("response_format", {}).get("type", "none")
            refused = {"no_formats": ("json_schema", "json_object"),
                       "json_object_only": ("json_schema",)}.get(server.mode, ())  # fmt: skip
            if form in refused:
                self._json({"error": {"message": f"response_format {form} is unknown"}}, 400)
                return
            self._completion(body)

        # --- good answers ---

        def _completion(self, body: Mapping[str, Any], wrap: str = "{}") -> None:
            strict = body.get("response_format", {}).get("json_schema", {})
            messages = [Message(m["role"], m["content"]) for m in body["messages"]]
            text = server.answer(messages, strict.get("schema"), body["max_tokens"], body["seed"])
            self._choice({"role": "assistant", "content": wrap.replace("{}", text)})

        def _choice(self, message: Mapping[str, Any], finish: str = "stop") -> None:
            usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18,
                     "prompt_tokens_details": {"cached_tokens": 3}}  # fmt: skip
            choice = {"index": 0, "message": message, "finish_reason": finish}
            self._json({"id": "1", "choices": [choice], "usage": usage})

        def _json(self, value: object, status: int = 200) -> None:
            self._raw(json.dumps(value).encode(), status)

        def _raw(
            self, data: bytes, status: int = 200, kind: str = "application/json; charset=utf-8",
            extra: Mapping[str, str] | None = None,
        ) -> None:  # fmt: skip
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            for name, value in (extra or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self._send(data)

        def _send(self, data: bytes) -> bool:
            try:
                self.wfile.write(data)
                self.wfile.flush()
            except OSError:
                self.close_connection = True
                return False
            return True

        # --- bad ones ---

        def _hangs(self, body: object) -> None:
            server.stopping.wait(60)
            self.close_connection = True

        def _drips(self, body: object) -> None:
            self._send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
            self._drip(b" ")

        def _drips_headers(self, body: object) -> None:
            self._send(b"HTTP/1.1 200 OK\r\n")
            self._drip(b"X: y\r\n")

        def _drip(self, drop: bytes) -> None:
            while not server.stopping.wait(0.05) and self._send(drop):
                pass
            self.close_connection = True

        def _not_http(self, body: object) -> None:
            self._send(b"SSH-2.0-OpenSSH_9.2p1\r\n")
            self.close_connection = True

        def _closes(self, body: object) -> None:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

        def _html(self, body: object) -> None:
            self._raw(b"<html>log in</html>", kind="text/html")

        def _no_json(self, body: object) -> None:
            self._raw(b"{'choices': None}")

        def _a_list(self, body: object) -> None:
            self._raw(b"[" * 100_000)

        def _invalid_utf8(self, body: object) -> None:
            self._raw(b'{"choices": [{"message": {"content": "\xff\xfe"}}]}')

        def _gigabytes(self, body: object) -> None:
            self._send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                       b"Transfer-Encoding: chunked\r\n\r\n")  # fmt: skip
            chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
            while not server.stopping.is_set() and self._send(chunk):
                pass
            self.close_connection = True

        def _announces_gigabytes(self, body: object) -> None:
            self._send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                       b"Content-Length: 9000000000\r\n\r\n")  # fmt: skip
            self.close_connection = True

        def _endless_headers(self, body: object) -> None:
            while not server.stopping.is_set() and self._send(b"HTTP/1.1 100 Continue\r\n\r\n"):
                pass
            self.close_connection = True

        def _breaks_off(self, body: object) -> None:
            self._send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                       b"Content-Length: 5000\r\n\r\n{")  # fmt: skip
            self.close_connection = True

        def _gzip(self, body: object) -> None:
            self._raw(b"\x1f\x8b", extra={"Content-Encoding": "gzip"})

        def _odd_protocol(self, body: object) -> None:
            self._send(b"HTTP/\x1b[31m9 200 OK\r\n\r\n")
            self.close_connection = True

        def _redirects(self, body: object) -> None:
            self._raw(b"", 307, extra={"Location": "http://example.org/"})

        def _status_401(self, body: object) -> None:
            self._json({"error": {"message": "Invalid API Key"}}, 401)

        def _status_404(self, body: object) -> None:
            self._json({"error": "model not found"}, 404)

        def _status_429(self, body: object) -> None:
            self._json({"detail": "slow down"}, 429)

        def _status_500(self, body: object) -> None:
            self._raw(b"\x00\xffTraceback\n boom", 500, "text/plain")

        def _overflow(self, body: object) -> None:
            words = "This model's maximum context length is 4096 tokens."
            self._json({"error": {"message": words, "type": "BadRequestError"}}, 400)

        def _no_choices(self, body: object) -> None:
            self._json({"choices": []})

        def _no_message(self, body: object) -> None:
            self._json({"choices": [{"text": "x"}]})

        def _tool_calls(self, body: object) -> None:
            calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
            self._choice({"content": None, "tool_calls": calls}, "tool_calls")

        def _empty(self, body: object) -> None:
            self._choice({"content": "  "})

        def _thinks(self, body: Mapping[str, Any]) -> None:
            """It cannot be told not to, and has an answer after 2000 tokens."""
            if body["max_tokens"] < 2000:
                self._thinking_only(body)
            else:
                self._completion(body, "<think>\nhm\n</think>\n\n{}")

        def _thinking_only(self, body: object) -> None:
            self._choice({"content": "", "reasoning_content": "hm"}, "length")

        def _length(self, body: object) -> None:
            self._choice({"content": '{"reason": "and so on'}, "length")

        def _lies(self, body: object) -> None:
            self._choice({"content": '{"reason": 1, "config": {}}'})

        def _prose(self, body: object) -> None:
            self._choice({"content": "Sure! Here is \x1b[31myour\x1b[0m answer:"})

        def _fenced(self, body: Mapping[str, Any]) -> None:
            self._completion(body, "```json\n{}\n```")

        def _thoughts(self, body: Mapping[str, Any]) -> None:
            self._completion(body, "<think>{ hm }</think>\n{}")

        def _odd_usage(self, body: Mapping[str, Any]) -> None:
            usage = {"prompt_tokens": -5, "completion_tokens": "many", "prompt_tokens_details": 3}
            message = {"content": server.answer([], None, 1, 1)}
            self._json({"choices": [{"message": message}], "usage": usage})

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
