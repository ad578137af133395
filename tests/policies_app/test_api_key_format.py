from hypothesis import given
from hypothesis import strategies as st

from policies_app.api_key_format import PREFIX, generate_key, parse_key, secret_digest


def test_a_generated_key_parses_into_its_own_halves():
    key = generate_key()

    parsed = parse_key(key.text)

    assert parsed is not None
    assert (parsed.public_id, parsed.secret) == (key.public_id, key.secret)


def test_two_keys_share_nothing():
    one, other = generate_key(), generate_key()

    assert one.public_id != other.public_id
    assert one.secret != other.secret


def test_any_single_changed_character_is_noticed():
    text = generate_key().text

    for index in range(len(PREFIX), len(text)):
        changed = "0" if text[index] != "0" else "1"
        assert parse_key(text[:index] + changed + text[index + 1 :]) is None


@given(st.text() | st.text(alphabet="sbx_0aZé").map(lambda tail: PREFIX + tail))
def test_no_text_makes_the_parser_raise(text):
    assert parse_key(text) is None


def test_surrounding_white_space_is_no_part_of_a_key():
    assert parse_key(generate_key().text + "\n") is None


def test_neither_secret_nor_text_shows_in_a_repr():
    key = generate_key()

    assert key.secret not in repr(key)
    assert key.secret not in repr(parse_key(key.text))


def test_the_digest_depends_on_secret_and_pepper():
    digests = {
        secret_digest(secret="a", pepper=b"1" * 32),
        secret_digest(secret="b", pepper=b"1" * 32),
        secret_digest(secret="a", pepper=b"2" * 32),
    }

    assert len(digests) == 3
