"""Words put into a model's mouth: exactly what it says, and how sure of it it is."""

import msgspec


class ScriptedCall(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call of a tool. `arguments` are sent as they are, JSON or not."""

    name: str
    arguments: str = "{}"


class Speech(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is to say. What is left out, it says as it would have.

    Several contents are those of a request's `n` choices, in turn. A refusal takes the content's
    place. Log-probabilities are one for all tokens, or one for each, the last for all that follow;
    `margins`, in the same form, are how far below its token the likeliest other one lies.
    """

    content: str | tuple[str, ...] | None = None
    refusal: str | None = None
    tool_calls: tuple[ScriptedCall, ...] = ()
    finish_reason: str | None = None
    logprobs: float | tuple[float, ...] | None = None
    margins: float | tuple[float, ...] | None = None

    def words(self, choice: int) -> str | None:
        """Return the text of a choice, None if the model is to find its own."""
        if self.refusal is not None:
            return self.refusal
        if isinstance(self.content, tuple):
            return self.content[choice % len(self.content)] if self.content else None
        return "" if self.content is None and self.tool_calls else self.content


UNSCRIPTED = Speech()


def each(figures: float | tuple[float, ...] | None) -> tuple[float, ...]:
    """Return figures, one or several or none, as a tuple."""
    if figures is None:
        return ()
    return figures if isinstance(figures, tuple) else (figures,)
