"""The closed vocabularies of Signalbox, declared once.

These values are public: they stand in policy documents, on log rows and in answers. Model choices are built from them.
"""

from enum import StrEnum


class Tier(StrEnum):
    """How capable, and how dear, a model is."""

    SMALL = "small"
    MID = "mid"
    FRONTIER = "frontier"

    @property
    def rank(self) -> int:
        """Order of the tiers, smallest first."""
        return _TIER_RANKS[self]


_TIER_RANKS = {tier: rank for rank, tier in enumerate(Tier)}


class Capability(StrEnum):
    """What a request may need and a model may lack."""

    TOOLS = "tools"
    JSON_SCHEMA = "json_schema"
    VISION = "vision"
    STREAMING = "streaming"
    LOGPROBS = "logprobs"
    EMBEDDINGS = "embeddings"


CHAT_CAPABILITIES = tuple(capability for capability in Capability if capability is not Capability.EMBEDDINGS)
"""What a model that writes may be able to do. One that embeds does nothing else."""


class Strategy(StrEnum):
    """How a route's steps are carried out."""

    SINGLE = "single"
    FAILOVER = "failover"
    CASCADE = "cascade"
    PARALLEL = "parallel"
    HEDGED = "hedged"


class Pick(StrEnum):
    """How *parallel* chooses among the valid answers; equal ones go by the order of the steps."""

    FIRST_VALID = "first_valid"
    HIGHEST_CONFIDENCE = "highest_confidence"
    LONGEST_AGREEING = "longest_agreeing"
    WEIGHTED = "weighted"
    JUDGE = "judge"


class WhenNonePasses(StrEnum):
    """What *cascade* does when no step's answer passes its validators."""

    RETURN_LAST = "return_last"
    FAIL = "fail"


class LogprobMeasure(StrEnum):
    """How the tokens' log-probabilities of a reply become one figure from 0 to 1."""

    MEAN = "mean"
    MINIMUM = "minimum"
    MARGIN = "margin"


class LatencyMeasure(StrEnum):
    """Which latency of a model is looked at."""

    FIRST_BYTE = "first_byte"
    TOTAL = "total"


class HealthState(StrEnum):
    """How a target fares: taking traffic, being probed, waiting out a rate limit, or failing."""

    HEALTHY = "healthy"
    HALF_OPEN = "half_open"
    COOLING = "cooling"
    OPEN = "open"


class StickyBy(StrEnum):
    """What a share of the traffic sticks to; `DISPATCH` sticks to nothing."""

    END_USER = "end_user"
    API_KEY = "api_key"
    TENANT = "tenant"
    DISPATCH = "dispatch"


class Weekday(StrEnum):
    """A day of the week, Monday first."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


class WireFormat(StrEnum):
    """Which protocol a provider speaks; one adapter each."""

    OPENAI_CHAT = "openai_chat"
    AZURE_OPENAI = "azure_openai"
    ANTHROPIC_MESSAGES = "anthropic_messages"
    GEMINI = "gemini"
    BEDROCK_CONVERSE = "bedrock_converse"


class WireFeature(StrEnum):
    """What a request may say that some wire formats have no words for, whichever model is behind them."""

    MULTIPLE_CHOICES = "multiple_choices"
    LOGPROBS = "logprobs"
    LOGIT_BIAS = "logit_bias"
    SEED = "seed"
    PENALTIES = "penalties"
    JSON_OBJECT = "json_object"
    JSON_SCHEMA = "json_schema"
    IMAGE_URLS = "image_urls"
    PLAIN_HTTP_IMAGES = "plain_http_images"
    """Addresses of images that are not `https`."""
    GIF_IMAGES = "gif_images"
    HEIC_IMAGES = "heic_images"
    OTHER_IMAGES = "other_images"
    """Data of images that is no JPEG, PNG, WebP, GIF or HEIC in base 64."""
    SINGLE_TOOL_CALL = "single_tool_call"
    LEGACY_FUNCTIONS = "legacy_functions"
    TEMPERATURE_ABOVE_ONE = "temperature_above_one"
    TOOL_RESULT_IMAGES = "tool_result_images"
    ANSWER_BEGUN = "answer_begun"
    EMBEDDINGS = "embeddings"
    EMBEDDING_DIMENSIONS = "embedding_dimensions"
    TOKENIZED_INPUT = "tokenized_input"


class RefusedParameter(StrEnum):
    """What a model does not take, though its wire format has words for it. It is left out, and the caller is told."""

    TEMPERATURE = "temperature"
    TOP_P = "top_p"
    TOP_K = "top_k"
    PRESENCE_PENALTY = "presence_penalty"
    FREQUENCY_PENALTY = "frequency_penalty"
    SEED = "seed"
    STOP = "stop"
    LOGIT_BIAS = "logit_bias"
    PARALLEL_TOOL_CALLS = "parallel_tool_calls"
    REASONING = "reasoning"
    """Efforts and budgets of thinking."""
    TOP_P_BESIDE_TEMPERATURE = "top_p_beside_temperature"
    SAMPLING_WHILE_REASONING = "sampling_while_reasoning"
    """Temperature, `top_p` and `top_k` of a request that wants the model to think."""
    UNKNOWN_FIELDS = "unknown_fields"
    """Whatever has no canonical words."""


class OutputLimitParameter(StrEnum):
    """What OpenAI's format calls the limit on an answer. `AUTOMATIC` is what the caller called it, else `max_tokens`."""

    AUTOMATIC = "automatic"
    MAX_TOKENS = "max_tokens"
    MAX_COMPLETION_TOKENS = "max_completion_tokens"


class SystemRole(StrEnum):
    """Who speaks the system's words to a model. `USER`: they begin what the user says next."""

    AS_SENT = "as_sent"
    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"


class ReasoningControl(StrEnum):
    """What a model's thinking is set by: an effort in words, or a budget in tokens."""

    AS_SENT = "as_sent"
    EFFORT = "effort"
    BUDGET = "budget"


class DropReason(StrEnum):
    """Why a step of the matched rule is no candidate."""

    UNKNOWN_MODEL = "unknown_model"
    DISABLED = "disabled"
    KILLED = "killed"
    LACKS_CAPABILITY = "lacks_capability"
    CONTEXT_TOO_SMALL = "context_too_small"
    NO_PRICE = "no_price"
    TIER_CAPPED = "tier_capped"
    OPEN_BREAKER = "open_breaker"
    EXCEEDS_COST_BOUND = "exceeds_cost_bound"


class RefusalCode(StrEnum):
    """Why no upstream call is made."""

    KILLED = "killed"
    NO_TARGET_AVAILABLE = "no_target_available"
    INSUFFICIENT_QUOTA = "insufficient_quota"


class RateLimitScope(StrEnum):
    """Whose rate is limited."""

    TENANT = "tenant"
    API_KEY = "api_key"
    MODEL = "model"


class RateLimitKind(StrEnum):
    """What is counted: over time, or at once."""

    REQUESTS_PER_MINUTE = "requests_per_minute"
    TOKENS_PER_MINUTE = "tokens_per_minute"
    CONCURRENT_DISPATCHES = "concurrent_dispatches"


class BudgetScope(StrEnum):
    """Whose spend a budget bounds."""

    TENANT = "tenant"
    END_USER = "end_user"
    API_KEY = "api_key"
    POLICY = "policy"
    TAG = "tag"


class BudgetPeriod(StrEnum):
    """How long a budget lasts; calendar periods run in the tenant's time zone."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    LIFETIME = "lifetime"


class BudgetAction(StrEnum):
    """What happens when a budget cannot cover a request."""

    REJECT = "reject"
    DOWNGRADE = "downgrade"
    ALERT = "alert"


class KillScope(StrEnum):
    """What a kill switch stops."""

    EVERYTHING = "everything"
    PROVIDER = "provider"
    MODEL = "model"
    POLICY = "policy"
    RULE = "rule"
    TENANT = "tenant"
    API_KEY = "api_key"
    END_USER = "end_user"


class AttemptRole(StrEnum):
    """Why an attempt was made."""

    PRIMARY = "primary"
    RETRY = "retry"
    FALLBACK = "fallback"
    ROTATION = "rotation"
    """The same model once more, with another credential."""
    ESCALATION = "escalation"
    PARALLEL = "parallel"
    HEDGE = "hedge"
    SAMPLE = "sample"
    JUDGE = "judge"
    CONTINUATION = "continuation"


class FaultClass(StrEnum):
    """What an attempt ended in, by the fault table."""

    UNREACHABLE = "unreachable"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXHAUSTED = "quota_exhausted"
    SERVER_ERROR = "server_error"
    BAD_REQUEST = "bad_request"
    CREDENTIAL_REFUSED = "credential_refused"
    FIRST_BYTE_TIMEOUT = "first_byte_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    TRUNCATED = "truncated"
    STREAM_ERROR = "stream_error"
    INVALID_REPLY = "invalid_reply"
    REDIRECTED = "redirected"
    CLIENT_DISCONNECTED = "client_disconnected"
    SUPERSEDED = "superseded"
    KILLED = "killed"
    SHUT_DOWN = "shut_down"
    EXPIRED = "expired"


class DispatchStatus(StrEnum):
    """How a dispatch ended."""

    OPEN = "open"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    CLIENT_DISCONNECTED = "client_disconnected"
    EXPIRED = "expired"


class AttemptState(StrEnum):
    """Where an attempt stands in the ledger; all but the first are terminal."""

    OPEN = "open"
    SETTLED = "settled"
    VOIDED = "voided"
    EXPIRED = "expired"


class Severity(StrEnum):
    """Whether a finding keeps a policy from being published."""

    ERROR = "error"
    WARNING = "warning"


class FindingCode(StrEnum):
    """What `verify` can find in a policy."""

    NO_DEFAULT = "no_default"
    DEFAULT_NOT_LAST = "default_not_last"
    CONDITIONAL_DEFAULT = "conditional_default"
    DUPLICATE_RULE = "duplicate_rule"
    UNKNOWN_BASELINE = "unknown_baseline"
    NO_STEPS = "no_steps"
    SEVERAL_STEPS = "several_steps"
    DUPLICATE_STEP = "duplicate_step"
    UNREACHABLE_STEP = "unreachable_step"
    UNKNOWN_MODEL = "unknown_model"
    DISABLED_MODEL = "disabled_model"
    NO_PRICE = "no_price"
    CAPABILITY_GAP = "capability_gap"
    DEARER_FALLBACK = "dearer_fallback"
    CONTRADICTION = "contradiction"
    DEAD_RULE = "dead_rule"
    AFTER_UNCONDITIONAL = "after_unconditional"
    RESERVED_NAME = "reserved_name"
    TOO_FEW_STEPS = "too_few_steps"
    NO_JUDGE = "no_judge"
    UNKNOWN_JUDGE = "unknown_judge"
    OWN_JUDGE = "own_judge"
    UNKNOWN_PROVIDER = "unknown_provider"
    UNCHECKED_STEP = "unchecked_step"
    IGNORED_VALIDATORS = "ignored_validators"
    LATE_STEP = "late_step"
    TOO_FEW_ATTEMPTS = "too_few_attempts"
    COST_BOUND_TOO_LOW = "cost_bound_too_low"
    PAST_DEADLINE = "past_deadline"
    OVERLAPPING_SHARES = "overlapping_shares"
    MIXED_ROUTE = "mixed_route"
    EMBEDDINGS_ONLY = "embeddings_only"
    IGNORED_STRATEGY = "ignored_strategy"
