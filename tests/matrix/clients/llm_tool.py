"""The command-line tool `llm`, as a process of its own that is told of nothing but where the gateway is."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.matrix.questions import ANSWER, CAPITAL

_FUNCTIONS = (
    'def get_weather(city: str) -> str:\n    "The weather in a city."\n    return f"Fine in {city}."\n'
)
PATIENCE_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """Runs the tool in a folder of its own, where it keeps its settings and its log."""

    folder: Path
    url: str
    key: str

    def run(self, model: str, *arguments: str) -> str:
        """What it prints.

        :raises AssertionError: if it fails.
        """
        settings = [
            {
                "model_id": "gateway",
                "model_name": model,
                "api_base": f"{self.url}/v1",
                "api_key_name": "gateway",
                "supports_tools": True,
            }
        ]
        # What is JSON is YAML.
        (self.folder / "extra-openai-models.yaml").write_text(json.dumps(settings), encoding="utf-8")
        command = [sys.executable, "-m", "llm", "prompt", "-m", "gateway", "--key", self.key, "--no-log"]
        done = subprocess.run(
            [*command, *arguments],
            env=os.environ | {"LLM_USER_PATH": str(self.folder), "LLM_LOAD_PLUGINS": ""},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


Feature = Callable[[Tool, str], None]


@contextlib.contextmanager
def open_tool(url: str, key: str) -> Iterator[Tool]:
    """The tool, set up to call the gateway at `url`."""
    with tempfile.TemporaryDirectory() as folder:
        yield Tool(folder=Path(folder), url=url, key=key)


def _plain(tool: Tool, model: str) -> None:
    assert tool.run(model, "--no-stream", CAPITAL) == ANSWER


def _streamed(tool: Tool, model: str) -> None:
    assert tool.run(model, CAPITAL) == ANSWER


def _tools(tool: Tool, model: str) -> None:
    assert tool.run(model, "--functions", _FUNCTIONS, "Use get_weather for Paris.")


FEATURES: Mapping[str, Feature] = {
    "plain": _plain,
    "streamed": _streamed,
    "tools and their results": _tools,
}
