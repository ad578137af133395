"""The text of an API key: `sbx_`, a public id, a secret and a checksum. Performs no I/O.

The public id finds the row, so that no look-up depends on the secret. The checksum lets a typing error, or a string that
only looks like a key, be refused without a query, and lets secret scanners be certain of what they found.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field

PREFIX = "sbx_"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
PUBLIC_ID_LENGTH = 10
# 27 characters of 62 hold 160.8 bits.
SECRET_LENGTH = 27
# The largest 32-bit number has six digits in base 62.
CHECKSUM_LENGTH = 6

_KEY = re.compile(
    rf"({PREFIX}([0-9A-Za-z]{{{PUBLIC_ID_LENGTH}}})([0-9A-Za-z]{{{SECRET_LENGTH}}}))([0-9A-Za-z]{{{CHECKSUM_LENGTH}}})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedKey:
    """A new key. `text` is what the caller presents; it is shown once and kept nowhere."""

    text: str = field(repr=False)
    public_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedKey:
    """The two halves of a well-formed key."""

    public_id: str
    secret: str = field(repr=False)


def generate_key() -> GeneratedKey:
    """Return a new random key."""
    public_id = _random_text(PUBLIC_ID_LENGTH)
    secret = _random_text(SECRET_LENGTH)
    body = f"{PREFIX}{public_id}{secret}"
    return GeneratedKey(text=body + _checksum(body), public_id=public_id, secret=secret)


def parse_key(text: str) -> ParsedKey | None:
    """Return the halves of a key, or None for any text that is not a well-formed key."""
    match = _KEY.fullmatch(text)
    if match is None or _checksum(match[1]) != match[4]:
        return None
    return ParsedKey(public_id=match[2], secret=match[3])


def secret_digest(*, secret: str, pepper: bytes) -> bytes:
    """Return what the database keeps of a secret: HMAC-SHA-256 under a key that the database does not hold."""
    return hmac.digest(pepper, secret.encode("ascii"), hashlib.sha256)


def _random_text(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    remaining = zlib.crc32(body.encode("ascii"))
    digits = []
    for _ in range(CHECKSUM_LENGTH):
        remaining, digit = divmod(remaining, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
