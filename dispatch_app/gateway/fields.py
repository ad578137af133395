"""The fields of a body, checked against what they have to be, whatever the client's format."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from dispatch_app.execution.errors import ErrorCode
from dispatch_app.gateway.errors import RequestError

EndUser = Annotated[str, Meta(max_length=255)]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]
OutputLimit = Annotated[int, Meta(ge=1, le=10_000_000)]
# Where a request goes, with which credentials and headers, and what it costs is never the caller's to say; nor is
# anything that makes a vendor generate or fetch more than the reservation covers.
REFUSED_FIELDS = re.compile(
    r"api_.*|.*_api_key|.*_url|base_url|url|proxy|proxies|organization|custom_llm_provider|model_list|models|route"
    r"|provider|transforms|plugins|fallbacks|(extra_|default_)?(headers|query|body)|.*(cost|price|pricing).*"
    r"|best_of|use_beam_search|prediction|web_search_options|audio|background|previous_response_id|num_retries|mock_.*"
    r"|max_output_tokens|max_new_tokens|max_tokens_to_sample|max_length|num_predict|chat_template|mm_processor_kwargs"
)
_MULTIPLYING = frozenset({"n", "max_tokens", "max_completion_tokens"})
"""What bounds the money, by OpenAI's names. In another format these say nothing; a server that took them would bill them."""
_Fields = TypeVar("_Fields", bound=msgspec.Struct)
_MISSING = re.compile(r"Object missing required field `(.*)`")


def check_fields(document: Mapping[str, Any], kind: type[_Fields]) -> _Fields:
    """The fields of a request that are checked, as a `kind` of struct.

    :raises RequestError: if one of them is missing or not what it has to be; its path is named.
    """
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise _as_request_error(error) from error


def unknown_fields(document: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """The fields whose names are not among those known."""
    if known.issuperset(document):
        return {}
    return {name: value for name, value in document.items() if name not in known}


def check_extras(extras: Iterable[str]) -> None:
    """Look at the names of those fields that only vendors who speak the caller's format are sent.

    :raises RequestError: if one of them is never the caller's to say.
    """
    for name in extras:
        if name in _MULTIPLYING or REFUSED_FIELDS.fullmatch(name):
            raise RequestError(code=ErrorCode.UNSUPPORTED_PARAMETER, param=name)


def _as_request_error(error: msgspec.ValidationError) -> RequestError:
    problem, _, path = str(error).partition(" - at `$")
    param = path.rstrip("`").removeprefix(".")
    if missing := _MISSING.fullmatch(problem):
        param = f"{param}.{missing[1]}" if param else missing[1]
        problem = "Field required."
    elif problem.startswith("Invalid enum"):
        # The message repeats the caller's value, which may be of any size.
        problem = "This value is not one of those allowed."
    else:
        problem = f"{problem}."
    return RequestError(param=param or None, detail=f"{param}: {problem}" if param else problem)
