"""What the vendor says when it cannot serve a request, in the shape of OpenAI's API."""

from typing import Any


class ApiError(Exception):
    """The request cannot be served, and this is what OpenAI's API would answer."""

    def __init__(
        self,
        *,
        status: int,
        message: str,
        type: str = "invalid_request_error",  # noqa: A002 - the API's own name for it
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(message=message, type=type, param=param, code=code)


def error_body(
    *,
    message: str,
    type: str,  # noqa: A002 - the API's own name for it
    param: str | None = None,
    code: str | None = None,
) -> dict[str, Any]:
    """Return the error object of OpenAI's API."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}
