"""Efforts of thinking that a vendor has no word for: what is told instead comes next to them, and the caller hears of it.

What each vendor has words for: https://platform.openai.com/docs/guides/reasoning, https://ai.google.dev/gemini-api/docs/thinking,
https://platform.claude.com/docs/en/build-with-claude/effort, and `OutputConfig` in
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from dispatch_app.execution.canonical import ClientFormat, Request
from dispatch_app.providers.adapter import adapter_of
from dispatch_app.providers.quirks import adapted, dropped
from policies_app.routing.codes import ReasoningControl, WireFormat
from policies_app.routing.quirks import Quirks
from tests.dispatch_app.routing_values import ProviderRow, make_candidate

NOW = datetime(2026, 11, 28, tzinfo=UTC)
CLAUDE, GPT_OSS, NOVA = (
    "us.anthropic.claude-opus-4-8-v1",
    "openai.gpt-oss-120b-1:0",
    "amazon.nova-2-lite-v1:0",
)
EFFORT, THINKING = ("reasoning_effort",), ("thinking",)
OFF, ADAPTIVE = {"type": "disabled"}, {"type": "adaptive"}


def tell(
    fields: dict[str, Any],
    *,
    wire_format: WireFormat,
    wire_name: str = "model",
    control: ReasoningControl = ReasoningControl.AS_SENT,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What a model is sent for a caller of Anthropic's format, and what the caller is told of it."""
    candidate = make_candidate(output_tokens_limit=100_000)
    quirks = Quirks(reasoning_control=control)
    model = replace(candidate.model, wire_format=wire_format, wire_name=wire_name, quirks=quirks)
    candidate = msgspec.structs.replace(candidate, model=model)
    request = Request(
        fields={"messages": [{"role": "user", "content": "Hello"}], **fields},
        stream=False,
        choices=1,
        origin=ClientFormat.ANTHROPIC_MESSAGES,
    )
    adapter = adapter_of(wire_format)
    built = adapter.build(
        request=adapted(request, candidate),
        candidate=candidate,
        prepared=adapter.prepare(ProviderRow(wire_format=wire_format)),
        now=NOW,
    )
    return json.loads(built.body), dropped(request, candidate)


@pytest.mark.parametrize(
    ("fields", "level", "names"),
    [
        *[({"reasoning_effort": effort}, effort, ()) for effort in ("low", "medium", "high")],
        # Some models have a level for these, and others refuse it.
        ({"reasoning_effort": "minimal"}, "low", EFFORT),
        ({"reasoning_effort": "xhigh"}, "high", EFFORT),
        ({"reasoning_effort": "max"}, "high", EFFORT),
        # No level is none at all, and a budget of nothing is refused by most.
        ({"reasoning_effort": "none"}, "low", EFFORT),
        ({"thinking": OFF}, "low", THINKING),
        ({"thinking": OFF, "reasoning_effort": "high"}, "low", THINKING),
        ({"thinking": ADAPTIVE, "reasoning_effort": "high"}, "high", ()),
        ({"thinking": ADAPTIVE}, None, ()),
        ({"thinking": {"type": "enabled", "budget_tokens": 1_024}}, "low", ()),
    ],
)
def test_gemini_with_levels(fields: dict[str, Any], level: str | None, names: tuple[str, ...]) -> None:
    body, told = tell(fields, wire_format=WireFormat.GEMINI, control=ReasoningControl.EFFORT)

    config = body["generationConfig"]["thinkingConfig"]
    assert (config.get("thinkingLevel"), told) == (level, names)
    assert "thinkingBudget" not in config


@pytest.mark.parametrize("control", [ReasoningControl.AS_SENT, ReasoningControl.BUDGET])
@pytest.mark.parametrize(
    ("fields", "budget", "names"),
    [
        ({"reasoning_effort": "none"}, 0, ()),
        ({"reasoning_effort": "minimal"}, 1_024, ()),
        ({"reasoning_effort": "high"}, 24_576, ()),
        ({"reasoning_effort": "xhigh"}, 24_576, EFFORT),
        ({"reasoning_effort": "max"}, 24_576, EFFORT),
        ({"thinking": OFF}, 0, ()),
        ({"thinking": {"type": "enabled", "budget_tokens": 24_576}}, 24_576, ()),
        # All that some models take.
        ({"thinking": {"type": "enabled", "budget_tokens": 31_999}}, 24_576, THINKING),
    ],
)
def test_gemini_with_budgets(
    control: ReasoningControl, fields: dict[str, Any], budget: int, names: tuple[str, ...]
) -> None:
    body, told = tell(fields, wire_format=WireFormat.GEMINI, control=control)

    assert body["generationConfig"]["thinkingConfig"]["thinkingBudget"] == budget
    assert told == names


@pytest.mark.parametrize(
    ("fields", "effort", "names"),
    [
        *[
            ({"reasoning_effort": effort}, effort, ())
            for effort in ("none", "minimal", "low", "high", "xhigh", "max")
        ],
        ({"thinking": ADAPTIVE, "reasoning_effort": "high"}, "high", ()),
        ({"thinking": {"type": "enabled", "budget_tokens": 9_000}}, "high", ()),
        # Models from before 5.1 know no `none`; what think unasked goes on thinking.
        ({"thinking": OFF}, None, THINKING),
        ({"thinking": OFF, "reasoning_effort": "high"}, "high", THINKING),
        ({"thinking": ADAPTIVE}, None, THINKING),
    ],
)
def test_openai(fields: dict[str, Any], effort: str | None, names: tuple[str, ...]) -> None:
    body, told = tell(fields, wire_format=WireFormat.OPENAI_CHAT)

    assert (body.get("reasoning_effort"), told) == (effort, names)
    assert "thinking" not in body


@pytest.mark.parametrize(
    ("effort", "thinking", "level", "names"),
    [
        ("none", OFF, None, ()),
        ("minimal", ADAPTIVE, "low", EFFORT),
        ("low", ADAPTIVE, "low", ()),
        ("xhigh", ADAPTIVE, "xhigh", ()),
        ("max", ADAPTIVE, "max", ()),
    ],
)
def test_anthropic(effort: str, thinking: dict[str, Any], level: str | None, names: tuple[str, ...]) -> None:
    fields = {"reasoning_effort": effort}

    body, told = tell(fields, wire_format=WireFormat.ANTHROPIC_MESSAGES)
    behind_bedrock, told_of_bedrock = tell(fields, wire_format=WireFormat.BEDROCK_CONVERSE, wire_name=CLAUDE)

    assert body["thinking"] == behind_bedrock["additionalModelRequestFields"]["thinking"] == thinking
    levels = [
        told.get("effort") for told in (body.get("output_config", {}), behind_bedrock.get("outputConfig", {}))
    ]
    assert levels == [level, level]
    assert told == told_of_bedrock == names


@pytest.mark.parametrize(
    ("wire_name", "effort", "level", "names"),
    [
        (GPT_OSS, "minimal", "low", EFFORT),
        (GPT_OSS, "medium", "medium", ()),
        (GPT_OSS, "max", "high", EFFORT),
        # There is no word for it, and nothing is said.
        (GPT_OSS, "none", None, EFFORT),
        (NOVA, "none", None, EFFORT),
        (NOVA, "minimal", "low", EFFORT),
        (NOVA, "high", "high", ()),
    ],
)
def test_others_behind_bedrock(
    wire_name: str, effort: str, level: str | None, names: tuple[str, ...]
) -> None:
    body, told = tell(
        {"reasoning_effort": effort}, wire_format=WireFormat.BEDROCK_CONVERSE, wire_name=wire_name
    )

    own = body.get("additionalModelRequestFields", {}).get("reasoning_effort")
    assert (own or body.get("outputConfig", {}).get("effort"), told) == (level, names)
