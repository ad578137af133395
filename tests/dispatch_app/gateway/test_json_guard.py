import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch_app.gateway.errors import RequestError
from dispatch_app.gateway.json_guard import MOST_LEVELS, MOST_VALUES, measured_object, parse_object

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
    "a name twice, and an escaped colon": b'{"a":1,"a":2,"b":"\\u003a"}',
    "a name twice, and a colon escaped in capitals": b'{"a":1,"a":2,"b":"\\u003A"}',
    "a name twice, with colons in it": b'{":":1,":":2}',
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
        b'{"a:a":"::","b":["\\u003a:","\\\\u003a"]}',
        b'{"a" : "b\\u00e4:"}',
    ],
)
def test_unusual_but_sound_json_is_read(body: bytes) -> None:
    assert parse_object(body) == json.loads(body)


@pytest.mark.parametrize(
    ("body", "size"),
    [(b'{"a": 1, "b": "\\u00e4"}', 23), (b'{"a":1e15}', len('{"a":1000000000000000.0}'))],
    ids=["as it came", "a number that is longer when written anew"],
)
def test_the_size_of_an_object_is_what_it_takes_at_most_in_whatever_way_it_is_written(
    body: bytes, size: int
) -> None:
    assert measured_object(body) == (json.loads(body), size)


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


class Members(list[tuple[str, Any]]):
    """An object as it is written: a name may come twice."""

    @property
    def are_told_apart(self) -> bool:
        return len({name for name, _ in self}) == len(self)


NAMES = st.text("ab:", max_size=2)
VALUES = st.recursive(
    st.none()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(':a"\\', max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(NAMES, inner), max_size=3).map(Members),
)


def written(value: Any, data: st.DataObject) -> str:
    """A value as JSON with random spaces and escapes."""
    space = data.draw(st.sampled_from(["", " "]))
    match value:
        case Members():
            inner = ",".join(f"{written(name, data)}{space}:{space}{written(of, data)}" for name, of in value)
            return f"{{{space}{inner}}}"
        case list():
            return f"[{','.join(written(item, data) for item in value)}{space}]"
        case str() if data.draw(st.booleans()):
            return '"' + "".join(f"\\u{ord(character):04x}" for character in value) + '"'
        case _:
            return json.dumps(value)


def has_a_name_twice(value: Any) -> bool:
    if isinstance(value, Members):
        return not value.are_told_apart or any(has_a_name_twice(inner) for _, inner in value)
    return isinstance(value, list) and any(map(has_a_name_twice, value))


@given(st.lists(st.tuples(NAMES, VALUES), max_size=4).map(Members), st.data())
def test_a_name_twice_is_found_wherever_it_stands_and_however_it_is_written(
    members: Members, data: st.DataObject
) -> None:
    body = written(members, data).encode()

    if has_a_name_twice(members):
        with pytest.raises(RequestError):
            parse_object(body)
    else:
        assert parse_object(body) == json.loads(body)
