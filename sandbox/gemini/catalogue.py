"""The models, as Gemini's API lists them."""

from typing import Any

from sandbox.errors import ApiError
from sandbox.fleet import FLEET, VendorModel
from sandbox.gemini.requests import unversioned
from sandbox.wire import HttpRequest, Reply

_PATH = "/models"


def render_models(request: HttpRequest) -> Reply:
    """Return the list of all models, or the one that is asked for.

    :raises ApiError: if there is none.
    """
    path = unversioned(request)
    if path == _PATH:
        return Reply.json({"models": [_describe(model) for model in FLEET.values()]})
    name = path.removeprefix(f"{_PATH}/")
    if name not in FLEET:
        raise ApiError(status=404, message=f"Model is not found: models/{name}")
    return Reply.json(_describe(FLEET[name]))


def _describe(model: VendorModel) -> dict[str, Any]:
    return {
        "name": f"models/{model.name}",
        "version": "001",
        "displayName": model.name,
        "inputTokenLimit": model.context_limit_tokens,
        "outputTokenLimit": model.output_limit_tokens,
        "supportedGenerationMethods": ["generateContent"],
        "maxTemperature": 2,
        "thinking": True,
    }
