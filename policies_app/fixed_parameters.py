"""What a model's row may add to every request in its vendor's own words, and what it may not.

Who is asked, what, at which price and how much may come of it is decided elsewhere: the reservation covers that and nothing
beyond. What a caller says is not for a row to say otherwise.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

MOST_BYTES = 4_000

_REFUSED = re.compile(
    # What the caller asks, of whom, and how the answer comes.
    r"models?|modelid|messages?|contents?|system|systeminstructions?|prompt|inputs?|instructions|stream|streamoptions"
    r"|requests|texts|inputtext|images|embeddingtypes"
    r"|tools?|toolchoice|toolconfig|functions?|functioncall|mcpservers|container|chattemplate|mmprocessorkwargs"
    # How much can be generated.
    r"|n|bestof|usebeamsearch|candidatecount|prediction|background|store|.*maxtokens.*|max(completion|output|new)tokens.*"
    r"|maxlength|numpredict|numcompletions|modalities|responsemodalities|audio"
    # What a token costs, and what costs beside tokens.
    r"|servicetier|speed|inferencegeo|performanceconfig|guardrailconfig|cachecontrol|cachedcontent|cachepoint|ttl"
    r"|websearchoptions|googlesearch|plugins|.*(price|pricing|cost).*"
    # Where it goes and with which rights.
    r"|provider|route|fallbacks|transforms|.*(url|uri)s?|.*apikey|.*headers?|authorization|prox(y|ies)|endpoint"
    r"|organization|extra(body|query)|apibase|apiversion"
)


def fixed_parameters_error(parameters: Any) -> str:
    """What is wrong with the fixed parameters of a model, in words for whoever typed them; empty if nothing is."""
    if not isinstance(parameters, Mapping):
        return 'Write one JSON object, e.g. {"chat_template_kwargs": {"enable_thinking": false}}.'
    text = json.dumps(parameters, ensure_ascii=False)
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        return f"This is longer than {MOST_BYTES} bytes."
    for name in _names(parameters):
        if _REFUSED.fullmatch(re.sub(r"[^a-z0-9]", "", name.lower())):
            return f"“{name}” cannot be fixed: it bears on who is asked what, on how much may come of it, or on its price."
    return ""


def _names(value: Any) -> Iterator[str]:
    """The names of all fields, at whatever depth."""
    match value:
        case Mapping():
            for name, inner in value.items():
                yield name
                yield from _names(inner)
        case list():
            for inner in value:
                yield from _names(inner)
