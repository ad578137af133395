import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch_app.gateway.errors import RequestError
from dispatch_app.gateway.json_guard import MOST_LEVELS, MOST_VALUES, parse_object

REFUSED = {
    "empty": b"",
    "no JSON": b"<html>",
    "cut off": b'{"a":',
    "two documents": b'{"a":1}{"b":2}',
    "an array": b"[1]",
    "a string": b'"a"',
    "null": b"null",
    "NaN": b'{"a":NaN}',
    "infinity": b'{"a":-Infinity}',
    "a number beyond floats": b'{"a":1e999}',
    "a number beyond sense": b'{"a":' + b"9" * 5_000 + b"}",
    "not UTF-8": b'{"a":"\xff"}',
    "not UTF-8 in a name": b'{"\xff":1}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"a":1}',
    "a control character": b'{"a":"\x01"}',
    "U+0000": b'{"a":"x\\u0000y"}',
    "U+0000 after a backslash": b'{"a":"\\\\\\u0000"}',
    "U+0000 in a name": b'{"\\u0000":1}',
    "a lone high surrogate": b'{"a":"\\ud800"}',
    "a lone high surrogate and text": b'{"a":"\\ud800abcdefgh"}',
    "a lone low surrogate": b'{"a":"\\udc00"}',
    "surrogates in the wrong order": b'{"a":"\\udc00\\ud800"}',
    "a name twice": b'{"a":1,"a":2}',
    "a name twice, escaped": b'{"a":1,"\\u0061":2}',
    "a name twice, nested": b'{"a":[{"b":1,"b":1}]}',
    "an array bomb": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "an object bomb": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "one level too many": b'{"a":' + b"[" * MOST_LEVELS + b"]" * MOST_LEVELS + b"}",
    "too many values": b'{"a":[' + b"1," * MOST_VALUES + b"1]}",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_dangerous_or_ambiguous_json_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError) as raised:
        parse_object(body)

    assert raised.value.status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"a":"\\\\u0000"}',  # a backslash, then u0000
        b'{"a":"\\ud83c\\udf0d"}',  # a pair of surrogates
        '{"a":"🌍","b":"\u2028"}'.encode(),
        b' \n{"a":1.5e10,"b":null} ',
        b'{"a":' + b"[" * (MOST_LEVELS - 1) + b"]" * (MOST_LEVELS - 1) + b"}",
        b'{"a":[' + b"1," * (MOST_VALUES - 10) + b"1]}",
        b'{"a":"' + b"[" * 1_000 + b'"}',  # brackets in text nest nothing
        b'{"a":{"x":1},"b":{"x":1}}',
    ],
)
def test_unusual_but_sound_json_is_read(body: bytes) -> None:
    assert parse_object(body) == json.loads(body)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_refusal(body: bytes) -> None:
    try:
        parse_object(body)
    except RequestError as error:
        assert error.status == 400


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10),
            lambda inner: (
                st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
            ),
        ),
        max_size=5,
    )
)
def test_what_a_json_library_writes_is_read_as_it_was_meant(document: dict[str, object]) -> None:
    text = json.dumps(document)
    if "\\u0000" in text.replace("\\\\", ""):
        return

    assert parse_object(text.encode()) == document
