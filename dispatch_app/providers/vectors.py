"""Vendors' vectors as a reply. Pure."""

import binascii
from collections.abc import Sequence

from dispatch_app.execution.canonical import Reply, Request
from dispatch_app.execution.errors import InvalidReplyError
from dispatch_app.execution.vectors import Vector, is_sound, size_of
from policies_app.routing.types import Usage


def reply_of(
    vectors: Sequence[Vector],
    *,
    request: Request,
    model: str,
    usage: Usage | None,
    wire_status: int,
    first_byte_at: float,
) -> Reply:
    """The reply that gives `vectors`.

    :raises InvalidReplyError: unless there is one for each text, and all are sound and of one size: that which was asked for.
    """
    sizes = {size_of(vector) for vector in vectors}
    asked = request.fields.get("dimensions")
    is_whole = (
        len(vectors) == len(request.fields["input"]) and len(sizes) == 1 and sizes <= {asked or max(sizes)}
    )
    if not is_whole or not all(map(is_sound, vectors)):
        raise InvalidReplyError(wire_status=wire_status, usage=usage)
    return Reply(
        model=model,
        choices=[],
        usage=usage,
        wire_status=wire_status,
        first_byte_at=first_byte_at,
        vectors=vectors,
    )


def vector_of(encoded: str) -> bytes:
    """The bytes that base 64 stands for.

    :raises ValueError: if it stands for none.
    """
    return binascii.a2b_base64(encoded, strict_mode=True)
