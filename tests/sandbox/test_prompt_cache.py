"""A prompt's prefix is cheap the second time, in whole blocks, once it is long enough."""

import pytest

from sandbox.prompt_cache import PromptCache


def _words(count: int) -> str:
    return " word" * count


@pytest.mark.parametrize(("tokens", "cached"), [(1_023, 0), (1_024, 1_024), (1_151, 1_024), (1_152, 1_152)])
def test_a_repeated_prompt_is_cached_in_whole_blocks(tokens: int, cached: int):
    cache = PromptCache()

    assert cache.look_up(model="small", prompt=_words(tokens)).read == 0
    assert cache.look_up(model="small", prompt=_words(tokens)).read == cached


def test_only_the_common_prefix_counts():
    cache = PromptCache()
    cache.look_up(model="small", prompt=_words(1_280) + " end" * 200)

    assert cache.look_up(model="small", prompt=_words(1_280) + " other" * 200).read == 1_280
    assert cache.look_up(model="small", prompt=" other" + _words(1_280)).read == 0


def test_each_model_has_its_own_cache():
    cache = PromptCache()
    cache.look_up(model="small", prompt=_words(2_000))

    assert cache.look_up(model="mid", prompt=_words(2_000)).read == 0


def test_what_was_not_cached_yet_is_written_unless_the_prompt_is_too_short():
    cache = PromptCache()

    assert cache.look_up(model="small", prompt=_words(1_023)).written == 0
    assert cache.look_up(model="small", prompt=_words(1_300)).written == 1_280
    more = cache.look_up(model="small", prompt=_words(1_500))
    assert (more.read, more.written) == (1_280, 128)
