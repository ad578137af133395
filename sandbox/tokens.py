"""The vendor's tokenizer: simple, deterministic, and reversible by concatenation.

A token is up to six word characters or one other sign, each with the one space before it, or a
single white-space character. `"".join(split_tokens(text)) == text` for every text, and a text never
has more tokens than characters.
"""

import re

MESSAGE_OVERHEAD_TOKENS = 3
REPLY_OVERHEAD_TOKENS = 3
IMAGE_TOKENS = 85

_TOKEN = re.compile(r" ?\w{1,6}| ?[^\w\s]|\s")


def split_tokens(text: str) -> tuple[str, ...]:
    """Cut a text into its tokens."""
    return tuple(_TOKEN.findall(text))


def count_tokens(text: str) -> int:
    """Count the tokens of a text."""
    return len(_TOKEN.findall(text))
