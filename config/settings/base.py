"""The settings that all environments share. Their values come from the environment through ``config.env``."""

from pathlib import Path
from typing import Any

from apps.core.catalogues import LANGUAGES as TRANSLATIONS
from apps.core.catalogues import compile_catalogues
from apps.core.version import VERSION
from config.env import PROJECT_ROOT, env_bool, env_float, env_int, env_list, env_networks, env_str, home
from config.settings.storages import *  # noqa: F403

BASE_DIR: Path = PROJECT_ROOT
CHECXRAY_HOME: Path = home()

DEBUG = False
# Former keys: sessions, stored credentials and secrets of webhooks that were made with one still work.
SECRET_KEY_FALLBACKS = env_list("SECRET_KEY_FALLBACKS", [])
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS", [])
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS", [])

INSTALLED_APPS = [
    "apps.accounts.admin_config.ConsoleConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "csp",
    "apps.core",
    "apps.tenants",
    "apps.accounts",
    "apps.audit",
    "apps.events",
    "apps.studies",
    "apps.routing",
    "apps.registry",
    "apps.evaluation",
    "apps.training",
    "apps.deployment",
    "apps.inference",
    "apps.ingest",
    "apps.reading",
    "apps.critical",
    "apps.reports",
    "apps.trials",
    "apps.quality",
    "apps.results",
    "apps.dicomweb",
    "apps.fhir",
    "apps.dimse",
    "apps.api",
    "apps.portal",
]

MIDDLEWARE = [
    "apps.core.middleware.MetricsMiddleware",
    "apps.api.middleware.ProbeMiddleware",
    "apps.core.middleware.NullCharacterMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "apps.core.compression.CompressionMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "apps.accounts.middleware.RefusedKeyMiddleware",
    "apps.audit.middleware.RefusalAuditMiddleware",
    "apps.tenants.middleware.TenantTransactionMiddleware",
    "apps.portal.middleware.LanguageMiddleware",
    "apps.portal.middleware.PortalErrorMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "apps.core.context_processors.product",
            ],
        },
    }
]

# Identity
AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "portal:sign-in"
LOGIN_REDIRECT_URL = "portal:worklist"
LOGOUT_REDIRECT_URL = "portal:sign-in"
AUTHENTICATION_BACKENDS = ["apps.accounts.backends.GuardedBackend"]
PASSWORD_HASHERS = ["apps.accounts.hashing.LimitedArgon2PasswordHasher"]
# Simultaneous password hashes in each web process; as many again may wait, others are answered with 503 at once.
HASHES_AT_ONCE = env_int("HASHES_AT_ONCE", 2)
# Failed sign-ins within the window, after which more are answered with 429: of one account from one address, and of one
# address over all accounts. Refused API keys have a limit of their own.
SIGN_IN_WINDOW_SECONDS = env_int("SIGN_IN_WINDOW_SECONDS", 15 * 60)
SIGN_IN_FAILURES_PER_ACCOUNT = env_int("SIGN_IN_FAILURES_PER_ACCOUNT", 10)
SIGN_IN_FAILURES_PER_ADDRESS = env_int("SIGN_IN_FAILURES_PER_ADDRESS", 100)
KEY_FAILURES_PER_ADDRESS = env_int("KEY_FAILURES_PER_ADDRESS", 100)
_VALIDATION = "django.contrib.auth.password_validation"
AUTH_PASSWORD_VALIDATORS: list[dict[str, Any]] = [
    {
        "NAME": f"{_VALIDATION}.UserAttributeSimilarityValidator",
        "OPTIONS": {"user_attributes": ("email", "full_name")},
    },
    {"NAME": f"{_VALIDATION}.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": f"{_VALIDATION}.NumericPasswordValidator"},
    {"NAME": f"{_VALIDATION}.CommonPasswordValidator"},
    {"NAME": "apps.accounts.passwords.CommonPasswordVariantValidator"},
]
SESSION_COOKIE_AGE = 12 * 60 * 60
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
DATABASE_ROUTERS = ["apps.core.router.RoleRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Language and time
LANGUAGE_CODE = "en"
LANGUAGES = TRANSLATIONS
LOCALE_PATHS = [compile_catalogues(BASE_DIR / "locale", CHECXRAY_HOME / "locale")]
FORMAT_MODULE_PATH = ["config.formats"]
TIME_ZONE = env_str("TIME_ZONE", "UTC")
USE_I18N = True
USE_TZ = True

# Folders and limits of received files
SPOOL_DIR = CHECXRAY_HOME / "spool"
SPOOL_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
MODEL_CACHE_DIR = CHECXRAY_HOME / "models"
# Views that receive images stream their bodies to the spool; all other bodies are small.
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = 0
FILE_UPLOAD_TEMP_DIR = str(SPOOL_DIR)
MAX_INSTANCE_BYTES = env_int("MAX_INSTANCE_MIB", 256) * 1024 * 1024
MAX_UPLOAD_BYTES = env_int("MAX_UPLOAD_MIB", 2048) * 1024 * 1024
MAX_UPLOAD_PARTS = 1000
# Files that a browser sends in pieces wait in the spool until they are complete: the bytes that a user and a tenant may
# have there, and the hours after which one that does not grow is removed.
PARTIAL_UPLOAD_BYTES_PER_USER = env_int("PARTIAL_UPLOAD_MIB_PER_USER", 4096) * 1024 * 1024
PARTIAL_UPLOAD_BYTES_PER_TENANT = env_int("PARTIAL_UPLOAD_MIB_PER_TENANT", 16384) * 1024 * 1024
PARTIAL_UPLOAD_HOURS = env_int("PARTIAL_UPLOAD_HOURS", 24)
# Bytes that stay free on the disks of spool and objects; by default 512 MiB, but at most a twentieth of the disk.
SPOOL_FREE_FLOOR_BYTES = env_int("SPOOL_FREE_FLOOR_MIB", 0) * 1024 * 1024 if env_str("SPOOL_FREE_FLOOR_MIB") else None
OBJECT_FREE_FLOOR_BYTES = (
    env_int("OBJECT_FREE_FLOOR_MIB", 0) * 1024 * 1024 if env_str("OBJECT_FREE_FLOOR_MIB") else None
)

# Folders with data sets that operators can choose as evaluation sets, and the folder of those that they upload. The web
# server and the jobs worker see both at the same path.
EVALUATION_FOLDERS = Path(env_str("EVALUATION_FOLDERS") or CHECXRAY_HOME / "evaluation-data")
EVALUATION_UPLOADS = CHECXRAY_HOME / "evaluation-sets"

# For one web process: the threads that run Django, the requests that may wait for them in each lane, and the bytes of
# bodies and answers in the spool, of which one address may use half.
WEB_THREADS = env_int("WEB_THREADS", 8)
WEB_WAITING = env_int("WEB_WAITING", 256)
WEB_SPOOL_BYTES = env_int("WEB_SPOOL_MIB", 8192) * 1024 * 1024

# Whether the activation of a version that replaces another one needs the approval of a second operator.
ACTIVATION_NEEDS_SECOND_APPROVER = env_bool("ACTIVATION_NEEDS_SECOND_APPROVER")
# By how much of mean AUROC a new version may be worse than the one in service, at the lower end of the 95 % interval.
GATE_DELTA = env_float("GATE_DELTA", 0.02)
# The floor: by how much the AUROC of one label, the share of normal films that is flagged, and the calibration error
# may be worse than those of the version in service, measured on the same films.
FLOOR_LABEL_DELTA = env_float("FLOOR_LABEL_DELTA", 0.05)
FLOOR_ALARMS_DELTA = env_float("FLOOR_ALARMS_DELTA", 0.05)
FLOOR_ECE_DELTA = env_float("FLOOR_ECE_DELTA", 0.02)
# The lease of an evaluation or a preview: without an extension for this long, another worker starts it again.
JOB_LEASE_SECONDS = env_int("JOB_LEASE_SECONDS", 60)

# Whether a tenant's administrators choose its operating points; otherwise only operators do.
HOSPITALS_SET_POINTS = env_bool("HOSPITALS_SET_POINTS", True)

# Webhooks go to public addresses by https, unless these settings allow others.
WEBHOOK_HTTP = env_bool("WEBHOOK_HTTP")
WEBHOOK_NETWORKS = env_networks("WEBHOOK_NETWORKS")

# Inference
INFERENCE_BATCH_SIZE = env_int("INFERENCE_BATCH_SIZE", 32)
# The lease of a job; a worker extends its leases four times in this period.
INFERENCE_LEASE_SECONDS = env_int("INFERENCE_LEASE_SECONDS", 60)
# A worker that holds a job for this long is considered as hanging, and ends itself.
INFERENCE_STUCK_SECONDS = env_int("INFERENCE_STUCK_SECONDS", 600)
INFERENCE_DEVICE = env_str("INFERENCE_DEVICE", "auto")
DECODER_PROCESSES = env_int("DECODER_PROCESSES", 2)
# On a machine that receives and reads images, receiving has priority; running both at once makes both slower.
INFERENCE_NICENESS = env_int("INFERENCE_NICENESS", 15)
INFERENCE_VARIED_READINGS = env_bool("INFERENCE_VARIED_READINGS")
RENDER_PROCESSES = env_int("RENDER_PROCESSES", 1)

# The web processes themselves answer /predict; these are the limits for each of them.
PREDICT_THREADS = env_int("PREDICT_THREADS", 2)
PREDICT_AT_ONCE = env_int("PREDICT_AT_ONCE", 2)
PREDICT_PENDING = env_int("PREDICT_PENDING", 6)
PREDICT_PENDING_PER_CALLER = env_int("PREDICT_PENDING_PER_CALLER", 4)
PREDICT_VERSIONS = env_int("PREDICT_VERSIONS", 3)
PREDICT_SECONDS = env_int("PREDICT_SECONDS", 30)
PREDICT_MAX_IMAGES = env_int("PREDICT_MAX_IMAGES", 32)
PREDICT_MAX_HEATMAP_IMAGES = 8
PREDICT_MAX_TENSOR_BYTES = env_int("PREDICT_MAX_TENSOR_MIB", 40) * 1024 * 1024

# Celery transports wake-up messages only: acknowledged at once, no results, no retries, no schedule.
CELERY_TASK_IGNORE_RESULT = True
# Celery would close the worker's connections around each task, and a film would wait 30 ms for new ones; the worker
# closes those that are old or broken.
CELERY_DB_REUSE_MAX = 1_000_000_000
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_DEFAULT_QUEUE = "inference"
# A queue for each kind of wake-up message, as `apps.core.wake_up` needs it, so that none waits behind another.
CELERY_TASK_ROUTES = {
    "workers.jobs.evaluate": {"queue": "evaluations"},
    "workers.jobs.preview": {"queue": "previews"},
    "workers.jobs.deliver": {"queue": "deliveries"},
    "workers.jobs.create_results": {"queue": "results"},
    "workers.jobs.send": {"queue": "sending"},
    "workers.jobs.report_commitments": {"queue": "commitments"},
}
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_POOL = "threads"
# While one thread reads the waiting studies, the other takes the next wake-up message.
CELERY_WORKER_CONCURRENCY = 2
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 1, "socket_timeout": 5, "max_retries": 0}

# DIMSE
DIMSE_HOST = env_str("DIMSE_HOST", "127.0.0.1")
DIMSE_PORT = env_int("DIMSE_PORT", 11112)
# A second port, with TLS: its certificate and key, and the authorities of its clients' certificates (PEM files).
DIMSE_TLS_PORT = env_int("DIMSE_TLS_PORT", 0)
DIMSE_TLS_CERTIFICATE = env_str("DIMSE_TLS_CERTIFICATE")
DIMSE_TLS_KEY = env_str("DIMSE_TLS_KEY")
DIMSE_TLS_CLIENT_CA = env_str("DIMSE_TLS_CLIENT_CA")
DIMSE_TLS_ONLY = env_bool("DIMSE_TLS_ONLY")
# The largest numbers of concurrent associations.
DIMSE_ASSOCIATIONS = env_int("DIMSE_ASSOCIATIONS", 64)
DIMSE_ASSOCIATIONS_PER_TENANT = env_int("DIMSE_ASSOCIATIONS_PER_TENANT", 32)
DIMSE_ASSOCIATIONS_PER_PEER = env_int("DIMSE_ASSOCIATIONS_PER_PEER", 16)

# The manufacturer's details in model cards; an empty one is shown as not stated.
MANUFACTURER_NAME = env_str("MANUFACTURER_NAME")
MANUFACTURER_CONTACT = env_str("MANUFACTURER_CONTACT")
REGULATORY_APPROVAL = env_str("REGULATORY_APPROVAL")
MODEL_MAINTENANCE = env_str("MODEL_MAINTENANCE")
# Every page shows this notice. The manufacturer clears it when the product is a marketed device.
INTENDED_USE_NOTICE = env_str("INTENDED_USE_NOTICE", "Investigational. Not for diagnostic use.")

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["apps.tenants.authentication.TenantAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["apps.tenants.authentication.HasTenant"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "apps.core.problems.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Checxray API",
    "DESCRIPTION": "Chest films in, findings with heatmaps and reports out. Investigational. Not for diagnostic use.",
    "VERSION": VERSION,
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "ENUM_NAME_OVERRIDES": {},
    "SCHEMA_PATH_PREFIX": "/api/v1",
}

# The mail server for invitation links and for mails about critical findings; without one, a link is shown to the
# inviting user, and critical findings are shown on pages alone.
EMAIL_HOST = env_str("EMAIL_HOST")
EMAIL_PORT = env_int("EMAIL_PORT", 587)
EMAIL_HOST_USER = env_str("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = env_str("EMAIL_HOST_PASSWORD")
EMAIL_USE_TLS = env_bool("EMAIL_USE_TLS", True)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env_str("EMAIL_FROM", "checxray@localhost")
# The address that people type, for links in mails that no request causes; by default that of the first allowed host.
PUBLIC_URL = env_str("PUBLIC_URL")

# Networks of the proxies in front of the web server: X-Forwarded-For is accepted only from them.
TRUSTED_PROXIES = env_networks("TRUSTED_PROXIES")

# Browser
# Not "no-referrer": browsers would then send `Origin: null`, which the CSRF check refuses.
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:", "blob:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
        "object-src": ["'none'"],
    },
}

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "apps.core.logs.LineFormatter", "format": "%(asctime)s %(levelname)s %(name)s %(message)s"}
    },
    "filters": {"without_paths": {"()": "apps.core.logs.WithoutPaths"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["without_paths"]}},
    "root": {"handlers": ["stderr"], "level": env_str("LOG_LEVEL", "INFO")},
    "loggers": {
        # They would log two lines for each wake-up message.
        "celery.app.trace": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},
        "pynetdicom": {"level": "ERROR"},
        # Its warnings repeat values of data sets.
        "pydicom": {"level": "ERROR"},
        "python_multipart": {"level": "ERROR"},
        "weasyprint": {"level": "ERROR"},
        # It logs UIDs, which identify a patient.
        "highdicom": {"level": "ERROR"},
        "fontTools": {"level": "ERROR"},
    },
}
METRICS_TOKEN = env_str("METRICS_TOKEN")
