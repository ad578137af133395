"""Signatures of Gemini's thoughts on their way through a client and back.

A signature belongs to a part of an answer, most often a call of a tool. Clients carry it as the signature of a thought: an
opaque text that says where it comes from and, for a call's, which call it belongs to. Where clients keep `extra_content` of
a call, as Google's own OpenAI-compatible endpoint has them do, it stands there too.
"""

from collections.abc import Mapping
from typing import Any

NOT_OURS = "skip_thought_signature_validator"
"""The signature that Google documents for a call whose own is not there: another model made it, or a client lost it."""

_ORIGIN = "gemini:"
_OF_CALL = "gemini:call:"


def sealed(signature: str) -> str:
    """The signature of a text or a thought, for a client to carry."""
    return f"{_ORIGIN}{signature}"


def sealed_of_call(signature: str, *, call_id: str) -> str:
    """The signature of a call, for a client to carry."""
    return f"{_OF_CALL}{call_id}:{signature}"


def signature_of_text(message: Mapping[str, Any]) -> str | None:
    """The signature that the text of an answer came with, if it came from here."""
    for block in message.get("thinking_blocks") or ():
        carried = block.get("signature") or ""
        if carried.startswith(_ORIGIN) and not carried.startswith(_OF_CALL):
            return str(carried.removeprefix(_ORIGIN))
    return None


def signature_of_call(message: Mapping[str, Any], call: Mapping[str, Any]) -> str | None:
    """The signature that a call came with, if it came from here."""
    match call.get("extra_content"):
        case {"google": {"thought_signature": str(signature)}}:
            return signature
    mark = f"{_OF_CALL}{call.get('id')}:"
    for block in message.get("thinking_blocks") or ():
        carried = block.get("signature") or ""
        if carried.startswith(mark):
            return str(carried.removeprefix(mark))
    return None
