"""Sealing of secrets that the database keeps: AES-256-GCM, bound to the row that they belong to. Performs no I/O.

A sealed value is: format version (1 byte), id of the key (4 bytes), nonce (12 bytes), ciphertext and tag. The id of the
key tells a value sealed under another key from one that was tampered with.
"""

import base64
import binascii
import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_LENGTH = 32
FORMAT_VERSION = 1
_KEY_ID_LENGTH = 4
_NONCE_LENGTH = 12
_HEADER_LENGTH = 1 + _KEY_ID_LENGTH
_SHORTEST = _HEADER_LENGTH + _NONCE_LENGTH


class UnsealError(Exception):
    """A sealed secret could not be opened."""


def secret_key_from_text(text: str) -> bytes:
    """Decode a key as the settings hold it: 32 bytes in base64.

    :raises ValueError: if it is anything else, so that a mistyped or shortened key stops the start.
    """
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("A secret key must be 32 random bytes in base64.") from error
    if len(key) != KEY_LENGTH:
        raise ValueError(f"A secret key must be 32 random bytes in base64; this one has {len(key)}.")
    return key


def seal(*, plaintext: str, key: bytes, bound_to: str) -> bytes:
    """Return `plaintext` sealed so that it opens only with the same key and the same `bound_to`."""
    header = bytes([FORMAT_VERSION]) + _key_id(key)
    nonce = os.urandom(_NONCE_LENGTH)
    return header + nonce + AESGCM(key).encrypt(nonce, plaintext.encode(), header + bound_to.encode())


def unseal(*, sealed: bytes, key: bytes, bound_to: str) -> str:
    """Return the plaintext of what `seal` returned.

    :raises UnsealError: if it was sealed under another key, for another row, or was changed.
    """
    if len(sealed) < _SHORTEST or sealed[0] != FORMAT_VERSION:
        raise UnsealError("The sealed secret has an unknown format.")
    header, nonce, ciphertext = sealed[:_HEADER_LENGTH], sealed[_HEADER_LENGTH:_SHORTEST], sealed[_SHORTEST:]
    if header[1:] != _key_id(key):
        raise UnsealError("The secret was sealed under another encryption key.")
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, header + bound_to.encode()).decode()
    except InvalidTag as error:
        raise UnsealError("The sealed secret belongs to another row or was changed.") from error


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"signalbox key id" + key).digest()[:_KEY_ID_LENGTH]
