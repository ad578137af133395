"""What the vendor signs, so that it knows its own when it comes back: calls of tools, and what was said after thinking."""

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

from sandbox.thoughts import is_signed, sign

PASSED_OVER = frozenset({"skip_thought_signature_validator", "context_engineering_is_the_way_to_go"})
"""Signatures that Google documents for calls that another model made: they are not looked at."""

_encode = msgspec.json.Encoder(order="deterministic").encode


def sign_call(name: str, arguments: Mapping[str, Any]) -> str:
    """Return the signature of a call of a tool."""
    return _signature(_call(name, arguments))


def sign_text(text: str) -> str:
    """Return the signature of what was said after thinking."""
    return _signature(text)


def is_signed_call(name: str, arguments: Mapping[str, Any], signature: str) -> bool:
    """Whether a call that comes back is one that was signed here."""
    return _fits(_call(name, arguments), signature)


def is_signed_text(text: str, signature: str) -> bool:
    """Whether a text that comes back is one that was signed here."""
    return _fits(text, signature)


def decode_base64(text: str) -> bytes:
    """Decode either of the two alphabets, padded or not, as Google does.

    :raises ValueError: if the text is in neither.
    """
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)


def _call(name: str, arguments: Mapping[str, Any]) -> str:
    return f"{name} {_encode(arguments).decode()}"


def _signature(signed: str) -> str:
    return base64.b64encode(bytes.fromhex(sign(signed))).decode()


def _fits(signed: str, signature: str) -> bool:
    if signature in PASSED_OVER:
        return True
    try:
        shown = decode_base64(signature)
    except ValueError:
        return False
    return shown.decode(errors="replace") in PASSED_OVER or is_signed(signed, shown.hex())
