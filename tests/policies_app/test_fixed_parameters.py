import pytest

from policies_app.fixed_parameters import MOST_BYTES, fixed_parameters_error


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}},
        {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}}},
        {"reasoning_effort": "low", "verbosity": "low", "safe_prompt": True, "min_p": 0.1, "random_seed": 7},
        {"parallel_tool_calls": None, "response_format": {"type": "json_object"}},
    ],
)
def test_what_only_one_model_needs_can_be_fixed(parameters):
    assert fixed_parameters_error(parameters) == ""


@pytest.mark.parametrize(
    "parameters",
    [
        # What the caller asks, of whom, and how the answer comes.
        {"model": "gpt-5"},
        {"modelId": "x"},
        {"messages": []},
        {"contents": []},
        {"systemInstruction": {}},
        {"stream": True},
        {"stream_options": None},
        {"tools": []},
        {"toolConfig": {}},
        {"tool_choice": "none"},
        {"mcp_servers": []},
        {"chat_template": "{{ x }}"},
        # How much can be generated, at whatever depth and however it is spelt.
        {"n": 2},
        {"max_tokens": 5},
        {"MAX-TOKENS": 5},
        {"max_completion_tokens": 5},
        {"max_tokens_to_sample": 5},
        {"generationConfig": {"maxOutputTokens": 5}},
        {"generationConfig": {"candidateCount": 2}},
        {"inferenceConfig": {"maxTokens": 5}},
        {"options": {"num_predict": 5}},
        {"a": [{"best_of": 2}]},
        {"modalities": ["audio"]},
        # What a token costs, and what costs beside tokens.
        {"service_tier": "priority"},
        {"speed": "fast"},
        {"performanceConfig": {"latency": "optimized"}},
        {"cache_control": {"type": "ephemeral"}},
        {"web_search_options": {}},
        {"plugins": []},
        {"input_cost_per_token": 0},
        # Where it goes and with which rights.
        {"base_url": "https://example.com"},
        {"api_key": "x"},
        {"extra_headers": {}},
        {"provider": {"order": []}},
        {"fallbacks": []},
    ],
)
def test_what_decides_what_is_asked_and_what_it_may_cost_cannot_be_fixed(parameters):
    assert "cannot be fixed" in fixed_parameters_error(parameters)


def test_parameters_are_one_short_object():
    assert "Write one JSON object" in fixed_parameters_error([1])
    assert "Write one JSON object" in fixed_parameters_error("min_p")
    assert (
        fixed_parameters_error({"stop_token": "x" * MOST_BYTES}) == f"This is longer than {MOST_BYTES} bytes."
    )
