import base64
import os

import pytest

from policies_app.sealing import UnsealError, seal, secret_key_from_text, unseal

KEY = os.urandom(32)


def test_what_was_sealed_opens_again():
    sealed = seal(plaintext="sk-härte", key=KEY, bound_to="credential:1")

    assert unseal(sealed=sealed, key=KEY, bound_to="credential:1") == "sk-härte"


def test_the_same_secret_seals_differently_each_time():
    assert seal(plaintext="s", key=KEY, bound_to="x") != seal(plaintext="s", key=KEY, bound_to="x")


def test_a_secret_moved_to_another_row_does_not_open():
    sealed = seal(plaintext="s", key=KEY, bound_to="credential:1")

    with pytest.raises(UnsealError, match="another row"):
        unseal(sealed=sealed, key=KEY, bound_to="credential:2")


def test_another_key_is_named_as_the_cause():
    sealed = seal(plaintext="s", key=KEY, bound_to="x")

    with pytest.raises(UnsealError, match="another encryption key"):
        unseal(sealed=sealed, key=os.urandom(32), bound_to="x")


def test_every_byte_is_protected():
    sealed = seal(plaintext="secret", key=KEY, bound_to="x")

    for index in range(len(sealed)):
        changed = bytearray(sealed)
        changed[index] ^= 1
        with pytest.raises(UnsealError):
            unseal(sealed=bytes(changed), key=KEY, bound_to="x")


@pytest.mark.parametrize("text", ["", "changeme", "not base64!", base64.b64encode(b"x" * 31).decode()])
def test_a_key_that_is_not_32_bytes_of_base64_is_refused(text):
    with pytest.raises(ValueError, match="32 random bytes"):
        secret_key_from_text(text)
