"""Which prompt prefixes the vendor has seen before, by the rule that OpenAI documents."""

from collections import OrderedDict
from hashlib import blake2b

from sandbox.tokens import split_tokens

BLOCK_TOKENS = 128
MIN_CACHED_TOKENS = 1024
MAX_BLOCKS = 20_000


class PromptCache:
    """Remembers prefixes in blocks of 128 tokens; a hit counts from 1024 tokens on."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[bytes, None] = OrderedDict()

    def look_up(self, *, model: str, prompt: str) -> int:
        """Return how many tokens of the prompt were cached, and cache the prompt."""
        names = self._name_blocks(model, prompt)
        known = 0
        while known < len(names) and names[known] in self._blocks:
            known += 1
        self._remember(names)
        cached = known * BLOCK_TOKENS
        return cached if cached >= MIN_CACHED_TOKENS else 0

    def _name_blocks(self, model: str, prompt: str) -> list[bytes]:
        tokens = split_tokens(prompt)
        prefix, names = blake2b(model.encode(), digest_size=16), []
        for start in range(0, len(tokens) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
            prefix.update("".join(tokens[start : start + BLOCK_TOKENS]).encode())
            names.append(prefix.digest())
        return names

    def _remember(self, names: list[bytes]) -> None:
        for name in names:
            self._blocks[name] = None
            self._blocks.move_to_end(name)
        while len(self._blocks) > MAX_BLOCKS:
            self._blocks.popitem(last=False)
