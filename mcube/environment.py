"""Every setting mcube takes from the environment, checked at once.

Bad values stop the start with one line for each that names the variable. A secret may also be given as
a file: ``MCUBE_SECRET_KEY_FILE=/run/secrets/key`` stands for ``MCUBE_SECRET_KEY``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from brokers.domain.enums import Mode
from credentials.validation import secret_in

CHECKOUT = Path(__file__).resolve().parent.parent


class Environment(BaseSettings):
    """One field a variable. The description is its line in docs/settings.md."""

    model_config = SettingsConfigDict(env_prefix="MCUBE_", extra="ignore", populate_by_name=True)

    home: Path = Field(
        CHECKOUT / "var", description="Folder for the embedded database, queue data, logs and instrument files."
    )
    database_url: SecretStr = Field(
        SecretStr(""),
        validation_alias="DATABASE_URL",
        description="PostgreSQL or SQLite URL; empty means SQLite in MCUBE_HOME.",
    )
    redis_url: SecretStr = Field(
        SecretStr(""),
        description="Redis or Valkey for queue, limits and single flight, `rediss://` for TLS; empty means the embedded one "
        "of `up`.",
    )
    redis_ca_file: Path | None = Field(
        None,
        description="Certificates of the authorities that may have signed the `rediss://` server's; without it the system's.",
    )
    redis_certificate_file: Path | None = Field(
        None, description="Certificate by which mcube names itself to a `rediss://` server that asks for one."
    )
    redis_key_file: Path | None = Field(
        None, validate_default=True, description="Private key of that certificate, not encrypted."
    )
    mode: Mode = Field(Mode.SIMULATED, description="simulated or live; paper is not built yet.")
    live_trading: bool = Field(False, description="The second switch that live orders need.")
    egress_url: str = Field(
        "",
        description="A page that answers with the caller's public address as text; live orders need it, to see that they "
        "leave from the registered one.",
    )
    encryption_keys: SecretStr = Field(
        SecretStr(""),
        description="Comma-separated Fernet keys, the first one encrypts; generated once into MCUBE_HOME.",
    )
    sign_messages: bool = Field(
        False, description="Messages between processes are signed, and no others are taken; see docs/access.md."
    )
    signing_keys: SecretStr = Field(
        SecretStr(""),
        description="Comma-separated keys of at least 32 characters, the first one signs; generated once into MCUBE_HOME.",
    )
    secret_key: SecretStr = Field(SecretStr(""), description="Django's secret key; generated once into MCUBE_HOME.")
    allowed_hosts: Annotated[list[str], NoDecode] = Field(
        ["127.0.0.1", "localhost"], description="Comma-separated host names the web admin answers to."
    )
    admin_password: SecretStr = Field(
        SecretStr(""), description="Password of the first admin user; generated and printed once when empty."
    )
    debug: bool = Field(False, description="Django's debug pages; never with live trading.")
    https: bool = Field(
        False, description="People reach the web admin by HTTPS, through a proxy: secure cookies, redirect, HSTS."
    )
    require_second_factor: bool = Field(
        False, description="Nobody uses the web admin without a second factor; who has none is led to enrol one."
    )
    public_url: str = Field(
        "",
        description="Address under which people reach the web admin, e.g. https://mcube.example.com; alerts link to it.",
    )
    halt_after_unacknowledged_minutes: int = Field(
        0,
        ge=0,
        description="Halt what an alert to act on now is about when nobody acknowledges it for so long; 0 is never.",
    )
    keep_reads_days: int = Field(
        90, ge=30, description="How long it is kept who was handed a credential, and who failed to log in; at least 30."
    )
    keep_audit_days: int = Field(
        1827,
        ge=1827,
        description="How long changes of credentials, sessions and logins are kept; at least five years, 1827 days.",
    )
    keep_snapshots_days: int = Field(
        7, ge=2, description="How long every snapshot is kept; after that one a minute of each kind and account."
    )
    keep_minutes_days: int = Field(
        90,
        ge=2,
        validate_default=True,
        description="How long one snapshot a minute is kept, no shorter than every snapshot; after that those alone that a "
        "day's record is made of.",
    )
    keep_day_records_days: int = Field(
        0, ge=0, description="How long the records of days and what they are made of are kept; 0 is for ever."
    )
    visibility_seconds: float = Field(
        180,
        gt=0,
        description="How long an order may stay out of a broker's book, until enough orders were seen to estimate it; at "
        "least 120.",
    )
    safety_scale: float = Field(
        1, gt=0, le=1, description="Shortens every wait of the reconciliation, for tests; 1 in live mode."
    )
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")
    log_json: bool = Field(True, description="One JSON object a line; 0 for reading by eye.")
    web_port: int = Field(8000, ge=1, le=65535, description="Port of the web admin that `up` starts.")
    flower_port: int = Field(5555, ge=1, le=65535, description="Port of Flower that `up` starts.")
    redis_port: int = Field(6390, ge=1, le=65535, description="Port of the embedded Valkey.")
    simulator_port: int = Field(
        8101, ge=1, le=65500, description="First port of the simulators; each broker's face takes the next one."
    )
    flower_password: SecretStr = Field(
        SecretStr(""), description="Password of Flower's user `mcube`; generated once into MCUBE_HOME when empty."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _FileVariables(settings_cls)

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("mode")
    @classmethod
    def _built(cls, value: Mode) -> Mode:
        if value is Mode.PAPER:
            raise ValueError("paper trading is not built yet; write simulated or live")
        return value

    @field_validator("public_url")
    @classmethod
    def _public(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/")):
            raise ValueError("write https://host, without a path")
        return value.rstrip("/")

    @field_validator("egress_url")
    @classmethod
    def _egress(cls, value: str) -> str:
        if value and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
            raise ValueError("write the address of a page, e.g. https://host/path")
        return value

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        if value.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError("write DEBUG, INFO, WARNING or ERROR")
        return value.upper()

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: SecretStr) -> SecretStr:
        scheme = urlsplit(value.get_secret_value()).scheme
        if value.get_secret_value() and scheme not in ("postgres", "postgresql", "sqlite"):
            raise ValueError("write postgres://user:password@host:port/name or sqlite:///path")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr) -> SecretStr:
        scheme = urlsplit(value.get_secret_value()).scheme
        if value.get_secret_value() and scheme not in ("redis", "rediss", "unix"):
            raise ValueError("write redis://user:password@host:port/0, or rediss:// for TLS")
        if "ssl_" in urlsplit(value.get_secret_value()).query:
            raise ValueError("leave the ssl_ options out; MCUBE_REDIS_CA_FILE and its like say what TLS needs")
        return value

    @field_validator("redis_ca_file", "redis_certificate_file", "redis_key_file", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        return value or None

    @field_validator("redis_ca_file", "redis_certificate_file", "redis_key_file")
    @classmethod
    def _of_tls(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is None:
            return None
        url = info.data.get("redis_url")
        if url is not None and not url.get_secret_value().startswith("rediss://"):
            raise ValueError("it is for TLS only; write rediss:// in MCUBE_REDIS_URL, or leave it out")
        try:
            value.open("rb").close()
        except OSError as error:
            raise ValueError(f"{value} cannot be read: {error.strerror}") from error
        return value

    @field_validator("keep_minutes_days")
    @classmethod
    def _in_order(cls, value: int, info: ValidationInfo) -> int:
        whole = info.data.get("keep_snapshots_days", 0)
        if value < whole:
            raise ValueError(
                f"every snapshot is kept for {whole} days; write so many or more, or lower MCUBE_KEEP_SNAPSHOTS_DAYS"
            )
        return value

    @field_validator("redis_key_file")
    @classmethod
    def _pair(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if (value is None) != (info.data.get("redis_certificate_file") is None):
            raise ValueError("a certificate and its key go together; name both MCUBE_REDIS_CERTIFICATE_FILE and this")
        return value


class _FileVariables(PydanticBaseSettingsSource):
    """Reads ``NAME_FILE`` for the secret fields."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        name = variable_name(field_name)
        path = os.environ.get(f"{name}_FILE", "")
        if not path or field.annotation is not SecretStr:
            return None, field_name, False
        try:
            return secret_in(path), field_name, False
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it holds no secret"
            raise SystemExit(f"{name}_FILE: cannot read {path}: {reason}.") from error

    def __call__(self) -> dict[str, Any]:
        found = {}
        for field_name, field in self.settings_cls.model_fields.items():
            value, _, _ = self.get_field_value(field, field_name)
            if value is not None:
                found[field_name] = value
        return found


def variable_name(field_name: str) -> str:
    """The environment variable of a field."""
    alias = Environment.model_fields[field_name].validation_alias
    return alias if isinstance(alias, str) else f"MCUBE_{field_name.upper()}"


def broker_url(broker: str) -> str | None:
    """Where a broker's SDK is pointed: ``MCUBE_<BROKER>_URL``; None means the broker's own hosts.

    :raises SystemExit: the value is not an http address.
    """
    name = f"MCUBE_{broker.upper()}_URL"
    value = os.environ.get(name, "").strip().rstrip("/")
    if value and urlsplit(value).scheme not in ("http", "https"):
        raise SystemExit(f"{name}: {value!r} is not an address; write http://host:port.")
    return value or None


def load() -> Environment:
    """Read and check the environment.

    :raises SystemExit: one line for each bad value.
    """
    try:
        return Environment()
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            field = str(problem["loc"][0]) if problem["loc"] else ""
            name = variable_name(field) if field in Environment.model_fields else field
            message = problem["msg"].removeprefix("Value error, ")
            is_secret = any(word in name for word in ("URL", "KEY", "PASSWORD"))
            shown = "" if is_secret else f" {problem.get('input')!r}:"
            lines.append(f"{name}:{shown} {message}.")
        raise SystemExit("\n".join(lines)) from None
