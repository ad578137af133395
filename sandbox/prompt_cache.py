"""Which prompt prefixes the vendor has seen before, by the rule that OpenAI documents."""

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b

from sandbox.tokens import split_tokens

BLOCK_TOKENS = 128
MIN_CACHED_TOKENS = 1024
MAX_BLOCKS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUse:
    """How many tokens of a prompt were read from the cache, and how many that it did not hold were written to it."""

    read: int = 0
    written: int = 0


NOTHING_CACHED = CacheUse()


class PromptCache:
    """Remembers prefixes in blocks of 128 tokens; a hit counts from 1024 tokens on."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[bytes, None] = OrderedDict()

    def look_up(self, *, model: str, prompt: str) -> CacheUse:
        """Return what of the prompt was cached, and cache the prompt. One that is too short is not."""
        names = self._name_blocks(model, prompt)
        known = 0
        while known < len(names) and names[known] in self._blocks:
            known += 1
        self._remember(names)
        read, whole = known * BLOCK_TOKENS, len(names) * BLOCK_TOKENS
        if whole < MIN_CACHED_TOKENS:
            return NOTHING_CACHED
        read = read if read >= MIN_CACHED_TOKENS else 0
        return CacheUse(read=read, written=whole - read)

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
