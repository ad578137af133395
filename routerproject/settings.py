"""Settings of Signalbox, read from the environment.

The embedded default (`make up`, `make test`) writes `embedded.env` and `secrets.env` into the state folder; whatever
the environment says itself wins over both files.
"""

from pathlib import Path

import environ
from django.templatetags.static import static
from django.urls import reverse_lazy

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()  # type: ignore[no-untyped-call]

STATE_DIR = Path(env.str("SIGNALBOX_STATE_DIR", default=str(BASE_DIR / "var")))
for name in ("secrets.env", "embedded.env"):
    if (STATE_DIR / name).is_file():
        env.read_env(STATE_DIR / name)

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

# 32 random bytes each, base64. The pepper keys the HMAC of API-key secrets; the encryption key seals provider secrets.
API_KEY_PEPPER = env.str("SIGNALBOX_API_KEY_PEPPER")
ENCRYPTION_KEY = env.str("SIGNALBOX_ENCRYPTION_KEY")

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "knox",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "policies_app.apps.PoliciesConfig",
    "dispatch_app.apps.DispatchConfig",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "routerproject.urls"
ASGI_APPLICATION = "routerproject.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Django's own connections serve the control plane only; the data plane has its own (see dispatch_app.ledger).
DATABASES = {"default": env.db_url("DATABASE_URL")}
DATABASES["default"]["CONN_MAX_AGE"] = 0
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = reverse_lazy("costs:tenants")
LOGOUT_REDIRECT_URL = "login"

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = env.bool("WHITENOISE_USE_FINDERS", default=True)

# Behind TLS: SECURE=1 turns on everything `check --deploy` asks for.
SECURE = env.bool("SECURE", default=False)
SESSION_COOKIE_SECURE = SECURE
CSRF_COOKIE_SECURE = SECURE
SECURE_SSL_REDIRECT = SECURE
SECURE_HSTS_SECONDS = 31_536_000 if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE
SECURE_HSTS_PRELOAD = SECURE
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if env.bool("TRUST_FORWARDED_PROTO", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

REST_FRAMEWORK = {
    # Bearer tokens only: a browser session never authenticates an API call.
    "DEFAULT_AUTHENTICATION_CLASSES": ["knox.auth.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["policies_app.api.permissions.StaffModelPermissions"],
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "PAGE_SIZE": 50,
    "DEFAULT_FILTER_BACKENDS": [
        "django_filters.rest_framework.DjangoFilterBackend",
        "rest_framework.filters.SearchFilter",
        "rest_framework.filters.OrderingFilter",
    ],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["policies_app.api.parsers.BoundedJsonParser"],
    "EXCEPTION_HANDLER": "policies_app.api.errors.handle_exception",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
REST_KNOX = {"AUTH_HEADER_PREFIX": "Bearer", "TOKEN_TTL": None}
SPECTACULAR_SETTINGS = {
    "TITLE": "Signalbox management API",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "ENUM_NAME_OVERRIDES": {
        "BudgetScopeEnum": "policies_app.api.vocabularies.BUDGET_SCOPES",
        "CapabilityEnum": "policies_app.api.vocabularies.CAPABILITIES",
        "KillScopeEnum": "policies_app.api.vocabularies.KILL_SCOPES",
        "RateLimitKindEnum": "policies_app.api.vocabularies.RATE_LIMIT_KINDS",
        "RateLimitScopeEnum": "policies_app.api.vocabularies.RATE_LIMIT_SCOPES",
        "RefusedParameterEnum": "policies_app.api.vocabularies.REFUSED_PARAMETERS",
        "TierEnum": "policies_app.api.vocabularies.TIERS",
    },
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

UNFOLD = {
    "SITE_TITLE": "Signalbox",
    "SITE_HEADER": "Signalbox",
    "SITE_SUBHEADER": "Dispatcher for language models",
    "SITE_SYMBOL": "alt_route",
    "SITE_URL": None,
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": True,
    "BORDER_RADIUS": "6px",
    "STYLES": [lambda _request: static("signalbox/admin.css")],
    "COLORS": {
        "primary": {
            "50": "oklch(98.4% .014 180.72)",
            "100": "oklch(95.3% .051 180.801)",
            "200": "oklch(91% .096 180.426)",
            "300": "oklch(85.5% .138 181.071)",
            "400": "oklch(77.7% .152 181.912)",
            "500": "oklch(70.4% .14 182.503)",
            "600": "oklch(51.1% .096 186.391)",
            "700": "oklch(43.7% .078 188.216)",
            "800": "oklch(38.6% .063 188.416)",
            "900": "oklch(33% .055 188.6)",
            "950": "oklch(27.7% .046 192.524)",
        },
    },
    "DASHBOARD_CALLBACK": "routerproject.dashboard.overview",
    "COMMAND": {"search_models": ["policies_app.policy", "policies_app.rule", "policies_app.model"]},
    "SIDEBAR": {"command_search": True, "navigation": "routerproject.navigation.sidebar"},
}

# What a scraper has to show at /metrics as its bearer token; without one, there is no such address.
METRICS_TOKEN = env.str("SIGNALBOX_METRICS_TOKEN", default="")

# How long a request waits for its admission before it is refused with 503. A database that is gone is noticed within a third of it.
LEDGER_PATIENCE_MS = env.int("LEDGER_PATIENCE_MS", default=250)

# Seconds that dispatches in flight have when a web process is told to stop. With what comes after (settling what is left, last
# words) it stops within 25 s; the server's own limit, --timeout-graceful-shutdown, lies two seconds behind this.
SHUTDOWN_S = env.float("SHUTDOWN_S", default=12.0)

# A client that takes nothing of its answer for so many seconds counts as gone.
CLIENT_STALL_S = env.float("CLIENT_STALL_S", default=60.0)

# The longest request body that /v1 takes.
MAX_BODY_BYTES = env.int("MAX_BODY_BYTES", default=10 * 1024 * 1024)

# How many whole UTC days of dispatches and attempts are kept; the rollups keep their figures.
LOG_RETENTION_DAYS = env.int("LOG_RETENTION_DAYS", default=90)

# Whether whoever throws a kill switch cannot lift it: of any switch, not only of those whose author says so.
KILL_SWITCH_LIFT_NEEDS_SECOND_PERSON = env.bool("KILL_SWITCH_LIFT_NEEDS_SECOND_PERSON", default=False)

# By how much one person may raise a budget, in per cent of its limit; more takes a second person. Empty: by any amount.
_RAISE_ALONE_PCT = env.str("BUDGET_RAISE_ALONE_PCT", default="")
BUDGET_RAISE_ALONE_PCT = int(_RAISE_ALONE_PCT) if _RAISE_ALONE_PCT else None

# Models that are marked so are kept warm by pings. The budget that they are made with, in US cents a day (the admin changes it
# later), and the output limit of a ping: some models think before they say a word, and need more than one token.
KEEP_WARM_DAILY_CENTS = env.int("KEEP_WARM_DAILY_CENTS", default=100)
KEEP_WARM_OUTPUT_TOKENS = env.int("KEEP_WARM_OUTPUT_TOKENS", default=1)

# A credential is tested by a real call of a model. The budget of such tests, as it is made, in US cents a day (the admin
# changes it later), and the output limit of one.
CONNECTION_TEST_DAILY_CENTS = env.int("CONNECTION_TEST_DAILY_CENTS", default=100)
CONNECTION_TEST_OUTPUT_TOKENS = env.int("CONNECTION_TEST_OUTPUT_TOKENS", default=16)

# How alerts are mailed, e.g. smtp+tls://user:password@mail.example.com:587; without it, letters go to the worker's log.
_MAIL = env.email_url("EMAIL_URL", default="consolemail://")
EMAIL_BACKEND = _MAIL["EMAIL_BACKEND"]
EMAIL_HOST = _MAIL["EMAIL_HOST"] or "localhost"
EMAIL_PORT = _MAIL["EMAIL_PORT"] or 25
EMAIL_HOST_USER = _MAIL["EMAIL_HOST_USER"] or ""
EMAIL_HOST_PASSWORD = _MAIL["EMAIL_HOST_PASSWORD"] or ""
EMAIL_USE_TLS = _MAIL.get("EMAIL_USE_TLS", False)
EMAIL_USE_SSL = _MAIL.get("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("ALERTS_FROM", default="signalbox@localhost")

CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="redis://127.0.0.1:6379/0")
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_ENABLE_UTC = True

LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
}
