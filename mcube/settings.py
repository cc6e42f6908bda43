"""Django's settings. What a person may change comes from the environment (``mcube.environment``)."""

import os
from datetime import timedelta
from typing import Any

import dj_database_url
from csp.constants import NONE, SELF, UNSAFE_INLINE
from django.templatetags.static import static
from django.urls import reverse_lazy

from brokers.discovery import specs
from brokers.domain.enums import Mode
from mcube import environment, secrets
from mcube.environment import CHECKOUT

# Files that any process of ours makes, the database and the logs among them, are their owner's alone.
os.umask(0o077)

ENV = environment.load()

# What runs, and how dangerous it is

MODE = ENV.mode
LIVE_TRADING = ENV.live_trading
EGRESS_URL = ENV.egress_url
HOME = ENV.home
# In simulated mode no real host is ever reached: without an address the broker is the simulator of `up`.
BROKER_URLS = {
    name: environment.broker_url(name)
    or (f"http://127.0.0.1:{ENV.simulator_port + position}" if MODE is Mode.SIMULATED else None)
    for position, name in enumerate(specs())
}

# Alerts to act on now that nobody acknowledges for so many minutes halt what they are about; 0 is never.
HALT_AFTER_UNACKNOWLEDGED_MINUTES = ENV.halt_after_unacknowledged_minutes

# How long the reconciliation waits for a broker's book

VISIBILITY_SECONDS = ENV.visibility_seconds
SAFETY_SCALE = ENV.safety_scale

# Secrets

SECRET_KEY = secrets.secret_key(ENV)
ENCRYPTION_KEYS = secrets.encryption_keys(ENV)
# Empty when messages are not signed.
SIGNING_KEYS = secrets.signing_keys(ENV)

# How long it is kept who used credentials and who logged in

KEEP_READS_DAYS = ENV.keep_reads_days
KEEP_AUDIT_DAYS = ENV.keep_audit_days

# How long snapshots are kept

KEEP_SNAPSHOTS_DAYS = ENV.keep_snapshots_days
KEEP_MINUTES_DAYS = ENV.keep_minutes_days
KEEP_DAY_RECORDS_DAYS = ENV.keep_day_records_days

# Applications

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "django_otp",
    "axes",
    "csp",
    "health_check",
    "credentials",
    "brokers",
    "mcube",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "mcube.access.policy.ContentPolicy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "mcube.middleware.indian_time",
    "axes.middleware.AxesMiddleware",
    # Innermost, and not asynchronous: the one before it fails when it is run as such.
    "mcube.access.second_factor.guard",
]

ROOT_URLCONF = "mcube.urls"
ASGI_APPLICATION = "mcube.asgi.application"
WSGI_APPLICATION = "mcube.wsgi.application"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [CHECKOUT / "mcube" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# Database: the ledger's truth. SQLite writes are durable before a send (synchronous=FULL) and take
# their lock at BEGIN, so that a compare-and-set never fails half-way.

DATABASES = {
    "default": dj_database_url.parse(
        ENV.database_url.get_secret_value() or f"sqlite:///{HOME / 'mcube.sqlite3'}", conn_max_age=600
    )
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
    }
else:
    DATABASES["default"].setdefault("OPTIONS", {})["connect_timeout"] = 5
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Redis or Valkey: queue, call limits, single flight. Never the truth about an order.

REDIS_URL = secrets.redis_url(ENV)

# Web

DEBUG = ENV.debug
ALLOWED_HOSTS = ENV.allowed_hosts
LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = "mcube.formats"
# Where people reach it, for links in what is sent to them; empty when nobody said.
PUBLIC_URL = ENV.public_url
STATIC_URL = "static/"
STATIC_ROOT = HOME / "static"
LOGIN_URL = "/admin/login/"

# Who gets in

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}}
]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
REQUIRE_SECOND_FACTOR = ENV.require_second_factor
# Failures of one name from one address lock that name from that address; more failures do not make it longer.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_LOCKOUT_CALLABLE = "mcube.access.login.refused"
AXES_ENABLE_ADMIN = False  # pages in the theme's dress are in mcube.access.admin
AXES_VERBOSE = False
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "otp_token", "csrfmiddlewaretoken"]

# What a browser may do with a page

# Styles stand in attributes and in a block of the theme's colours; scripts are files of ours, always.
CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF, UNSAFE_INLINE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
SESSION_COOKIE_HTTPONLY = True
CSRF_COOKIE_HTTPONLY = True
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_AGE = 12 * 3600
if ENV.https:
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^(live|ready)$"]
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    # The host's subdomains are not ours to decide about.
    SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
    CSRF_TRUSTED_ORIGINS = [f"https://{host}" for host in ALLOWED_HOSTS if host != "*"]

# What people see

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "mcube",
    "SITE_HEADER": "mcube",
    "SITE_SYMBOL": "deployed_code",
    "SITE_URL": None,
    "ENVIRONMENT": "mcube.menu.badge",
    "LOGIN": {"form": "mcube.access.login.LoginForm"},
    "ACCOUNT": {
        "navigation": [
            {"title": "Change password", "link": reverse_lazy("admin:password_change")},
            {"title": "Second factor", "link": reverse_lazy("admin:mcube_authenticator_enrol")},
        ]
    },
    "DASHBOARD_CALLBACK": "mcube.dashboard.show",
    "STYLES": [lambda _request: static("mcube/admin.css")],
    "SIDEBAR": {"show_search": True, "show_all_applications": False, "navigation": "mcube.menu.navigation"},
}

# Logs: one handler for all of them, which `mcube.observability` makes

LOGGING_CONFIG = "mcube.observability.setup_logging"
LOGGING: dict[str, Any] = {"level": ENV.log_level, "json": ENV.log_json}

TEST_RUNNER = "mcube.testing.UseMakeTest"
