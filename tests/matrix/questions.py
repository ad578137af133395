"""What clients ask, and what a right answer is."""

from typing import Any

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
LINK = "https://example.com/cat.png"
CAPITAL = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
TOOLS_WANTED = "Use get_weather and get_time for Paris."
NAMES = ["get_weather", "get_time"]
TEXTS = ["The food was delicious.", "Das Essen war köstlich. 🍜", "Interest rates rose in March."]
QUESTION: list[Any] = [{"role": "user", "content": CAPITAL}]
BOTH: list[Any] = [{"role": "user", "content": TOOLS_WANTED}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
