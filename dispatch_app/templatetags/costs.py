"""Template filters of the cost pages."""

from collections.abc import Mapping
from typing import Any

from django import template

from dispatch_app.costs import formats

register = template.Library()

register.filter("usd", formats.show_usd)
register.filter("exact_usd", formats.show_exact_usd)
register.filter("count", formats.show_count)
register.filter("tokens", formats.show_tokens)
register.filter("percent", formats.show_percent)
register.filter("duration", formats.show_duration)
register.filter("words", formats.show_code)


@register.filter
def at(mapping: Mapping[Any, Any], key: Any) -> Any:
    """What a mapping holds under a key, None if nothing."""
    return mapping.get(key)


@register.filter
def at_most(number: float, most: float) -> float:
    """The number, or `most` if it is greater."""
    return min(number, most)
