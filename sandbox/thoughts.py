"""What a model thinks, and the signatures by which it knows its thoughts again."""

import hmac

_KEY = b"the sandbox's own"


def think(tokens: int) -> str:
    """Return a thought of so many tokens."""
    return " ".join(["hm"] * tokens)


def sign(thought: str) -> str:
    """Return the signature of a thought."""
    return hmac.new(_KEY, thought.encode(), "sha256").hexdigest()


def is_signed(thought: str, signature: str) -> bool:
    """Whether a thought that comes back is one that was signed here."""
    return hmac.compare_digest(sign(thought).encode(), signature.encode())
