"""The fields of Gemini's requests, as far as the vendor reads them; any other is refused."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(pattern=r"^[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}$")]
_Share = Annotated[float, Meta(ge=0, le=1)]
_Penalty = Annotated[float, Meta(ge=-2, lt=2)]
_NonEmpty = Annotated[str, Meta(min_length=1)]
_Kind = Literal["STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"]
_Level = Literal["MINIMAL", "LOW", "MEDIUM", "HIGH", "minimal", "low", "medium", "high"]
_SmallKind = Literal["string", "number", "integer", "boolean", "array", "object", "null"]


class _Message(msgspec.Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """What all of Google's messages have in common."""


class Blob(_Message):
    mime_type: str
    data: str


class FileData(_Message):
    file_uri: str
    mime_type: str | None = None


class FunctionCall(_Message):
    name: Name
    args: dict[str, Any] = {}
    id: str | None = None


class FunctionResponse(_Message):
    name: Name
    response: dict[str, Any]
    id: str | None = None


class Part(_Message):
    """`thought` and `thought_signature` stand beside what is said; of the others there is one."""

    text: str | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    thought: bool = False
    thought_signature: str | None = None


class Content(_Message):
    parts: list[Part] = []
    role: str = "user"


class Schema(_Message):
    """A schema as OpenAPI has them."""

    type: _Kind | _SmallKind | None = None
    format: str | None = None
    title: str | None = None
    description: str | None = None
    nullable: bool | None = None
    enum: list[str] | None = None
    items: "Schema | None" = None
    max_items: int | str | None = None
    min_items: int | str | None = None
    properties: "dict[str, Schema] | None" = None
    required: list[str] | None = None
    min_properties: int | str | None = None
    max_properties: int | str | None = None
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | str | None = None
    max_length: int | str | None = None
    pattern: str | None = None
    example: Any = None
    any_of: "list[Schema] | None" = None
    property_ordering: list[str] | None = None
    default: Any = None
    additional_properties: Any = None


class FunctionDeclaration(_Message):
    name: Name
    description: str = ""
    parameters: Schema | None = None
    parameters_json_schema: dict[str, Any] | None = None
    response: Schema | None = None
    response_json_schema: dict[str, Any] | None = None
    behavior: Literal["BLOCKING", "NON_BLOCKING"] | None = None


class Tool(_Message):
    function_declarations: list[FunctionDeclaration] = []


class FunctionCallingConfig(_Message):
    mode: Literal["AUTO", "ANY", "NONE", "VALIDATED"] = "AUTO"
    allowed_function_names: list[Name] = []


class ToolConfig(_Message):
    function_calling_config: FunctionCallingConfig = msgspec.field(default_factory=FunctionCallingConfig)


class SafetySetting(_Message):
    category: Annotated[str, Meta(pattern="^HARM_CATEGORY_[A-Z_]+$")]
    threshold: Literal[
        "BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF"
    ]


class ThinkingConfig(_Message):
    include_thoughts: bool = False
    thinking_budget: Annotated[int, Meta(ge=-1, le=32_768)] | None = None
    thinking_level: _Level | None = None


class GenerationConfig(_Message):
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: _Share | None = None
    top_k: Annotated[int, Meta(ge=1)] | None = None
    candidate_count: Annotated[int, Meta(ge=1, le=8)] = 1
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    stop_sequences: Annotated[list[_NonEmpty], Meta(max_length=5)] = []
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    seed: Annotated[int, Meta(ge=-(2**31), lt=2**31)] | None = None
    response_logprobs: bool = False
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    response_mime_type: Literal["text/plain", "application/json"] = "text/plain"
    response_schema: Schema | None = None
    response_json_schema: dict[str, Any] | None = None
    response_modalities: list[Literal["TEXT"]] = []
    media_resolution: str | None = None
    thinking_config: ThinkingConfig = msgspec.field(default_factory=ThinkingConfig)


class GenerateContent(_Message):
    contents: list[Content]
    system_instruction: Content | None = None
    generation_config: GenerationConfig = msgspec.field(default_factory=GenerationConfig)
    tools: list[Tool] = []
    tool_config: ToolConfig = msgspec.field(default_factory=ToolConfig)
    safety_settings: list[SafetySetting] = []
    cached_content: str | None = None
    service_tier: str | None = None
    store: bool | None = None

    @property
    def functions(self) -> list[FunctionDeclaration]:
        """All tools that are declared."""
        return [function for tool in self.tools for function in tool.function_declarations]
