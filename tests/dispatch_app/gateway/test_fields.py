"""What callers are told of a field that is wrong: its path, in every format and in the same words."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from dispatch_app.gateway.anthropic_request import parse_message
from dispatch_app.gateway.errors import RequestError, message_of
from dispatch_app.gateway.openai_chat import parse_chat
from dispatch_app.gateway.openai_embeddings import parse_embeddings
from dispatch_app.gateway.responses_request import parse_response

SAID = [{"role": "user", "content": "Hello"}]
MESSAGE = {"model": "auto", "max_tokens": 5, "messages": SAID}
NOT_ALLOWED = "This value is not one of those allowed."
NOT_SUPPORTED = "This parameter is not supported."


@pytest.mark.parametrize(
    ("parse", "body", "param", "problem"),
    [
        (parse_chat, {"model": "auto"}, "messages", "Field required."),
        (parse_response, {"model": "auto"}, "input", "Field required."),
        (parse_message, {"model": "auto", "max_tokens": 5}, "messages", "Field required."),
        (parse_embeddings, {"model": "embed"}, "input", "Field required."),
        (parse_message, {"model": "auto", "messages": SAID}, "max_tokens", "Field required."),
        (parse_message, MESSAGE | {"tools": [{"name": "f"}]}, "tools[0].input_schema", "Field required."),
        (parse_chat, {"model": "auto", "messages": [{"role": "x"}]}, "messages[0].role", NOT_ALLOWED),
        (parse_message, MESSAGE | {"messages": [{"role": "x", "content": ""}]}, "messages[0].role", NOT_ALLOWED),
        (parse_chat, {"model": "auto", "messages": SAID, "best_of": 3}, "best_of", NOT_SUPPORTED),
        (parse_response, {"model": "auto", "input": "Hello", "background": True}, "background", NOT_SUPPORTED),
        (parse_message, MESSAGE | {"container": "c"}, "container", NOT_SUPPORTED),
    ],
)  # fmt: skip
def test_the_path_of_what_is_wrong_is_told(
    parse: Callable[[bytes], Any], body: dict[str, Any], param: str, problem: str
) -> None:
    with pytest.raises(RequestError) as raised:
        parse(msgspec.json.encode(body))

    assert raised.value.param == param
    assert message_of(raised.value) == f"{param}: {problem}"
