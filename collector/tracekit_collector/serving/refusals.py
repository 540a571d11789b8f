"""Answers that are no output: what was wrong with a request, or with what was to answer it.

The body is `{"error": {"message", "type", "param", "code", …}}`, the shape that clients of OpenAI's API read.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson


class Refusal(Exception):  # noqa: N818 - an answer, which never leaves the door
    """The request is answered with this.

    Args:
        status: The HTTP status.
        code: What was wrong, in one word.
        message: What was wrong, and what to do about it.
        param: Where in the body, as a JSON pointer.
        headers: Headers of the answer.
        more: More members of the error.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})
        self.more = dict(more or {})

    def body(self, trace_id: str | None = None) -> dict[str, object]:
        """The answer's body.

        Args:
            trace_id: The trace of the request, where it has one.
        """
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        if self.status in {401, 403}:
            kind = "authentication_error" if self.status == 401 else "permission_error"
        said: dict[str, object] = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        if trace_id is not None:
            said["trace_id"] = trace_id
        return {"error": {**said, **self.more}}

    def dumped(self, trace_id: str | None = None) -> bytes:
        """The answer's body as JSON."""
        return orjson.dumps(self.body(trace_id))
