"""What a process starts with: the environment (and `.env`), read once, checked at once. `.env.example` lists it."""

import difflib
import json
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from dispatcher.kernel.address import parsed_url
from dispatcher.kernel.errors import StartupError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def _port(value: object) -> object:
    return value.removeprefix(":") if isinstance(value, str) else value


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError("is not a duration")
    return float(match[1]) * _UNITS[match[2]]


def _endpoints(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        parsed = json.loads(value) if value.lstrip().startswith("[") else value.split(",")
    except ValueError:
        raise ValueError("is not a JSON list") from None
    return tuple(_endpoint(str(item)) for item in parsed)


def _listed(value: object) -> object:
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


def _endpoint(text: str) -> str:
    """`host:port`, `http://` before it or not; what more is asked for would be left out, so it is refused."""
    try:
        parts = urlsplit(text.strip() if "//" in text else f"//{text.strip()}")
        host, port = parts.hostname, parts.port
    except ValueError:  # its text quotes pieces of the value, which may be a password's
        host, port = None, None
    else:
        if parts.scheme not in {"", "http"}:
            raise ValueError("has an entry that is not http://: etcd is spoken to without TLS")
        if "@" in parts.netloc:
            raise ValueError("has an entry with a user: etcd is spoken to without authentication")
    if not host or not port:
        raise ValueError("has an entry that is not host:port")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _directory(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() == "off" else value


def _redis_url(text: str) -> str:
    return text if "://" in text else f"redis://{text}"


def _could_be_redis(text: str) -> bool:
    try:
        parts = urlsplit(_redis_url(text))
        port = parts.port
    except ValueError:  # its text quotes pieces of the value, which may be a password's
        return False
    if parts.scheme == "unix":
        return bool(parts.path)
    return parts.scheme in {"redis", "rediss"} and bool(parts.hostname) and ("://" in text or bool(port))


LEAST_KEY = 16
"""Characters of the operator's key."""
LEAST_SECRET = 32
"""Bytes of the secret of tokens: as many as the hash that it goes into has."""

Port = Annotated[int, BeforeValidator(_port), Field(ge=1, le=65535)]
Duration = Annotated[float, BeforeValidator(_duration), Field(ge=0.1, le=3600)]


class Settings(BaseModel):
    """Frozen, validated. Each field's alias is the variable's name, each example a value that works."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    env: Literal["local", "dev", "production"] = Field("local", alias="APP_ENV", examples=["local"])
    data_dir: Path = Field(Path(".dispatcher"), alias="APP_DATA_DIR", examples=[".dispatcher"])
    db_url: SecretStr | None = Field(
        None,
        alias="APP_DB_URL",
        examples=["postgres://user:password@localhost:5432/dispatcher?sslmode=disable"],
    )
    redis_addr: SecretStr | None = Field(None, alias="APP_REDIS_ADDR", examples=["localhost:6379"])
    redis_password: SecretStr | None = Field(None, alias="APP_REDIS_PASSWORD", examples=["secret"])
    redis_db: int = Field(0, alias="APP_REDIS_DB", ge=0, le=1_000_000, examples=["0"])
    etcd_endpoints: Annotated[tuple[str, ...], BeforeValidator(_endpoints)] | None = Field(
        None, alias="APP_REMOTE_ETCD_ENDPOINTS", min_length=1, examples=['["http://localhost:2379"]']
    )
    etcd_prefix: str = Field("/app/config/", alias="APP_REMOTE_ETCD_PREFIX", examples=["/app/config/"])
    host: str = Field("127.0.0.1", alias="APP_HOST", min_length=1, examples=["127.0.0.1"])
    port: Port | None = Field(None, alias="APP_PORT", examples=["8080"])
    api_key: SecretStr | None = Field(None, alias="APP_API_KEY", examples=["a-long-random-text"])
    token_secret: SecretStr | None = Field(
        None, alias="APP_TOKEN_SECRET", examples=["a-random-text-of-at-least-32-characters"]
    )
    token_jwks: str | None = Field(
        None, alias="APP_TOKEN_JWKS", examples=["https://id.example.com/.well-known/jwks.json"]
    )
    token_audience: str | None = Field(None, alias="APP_TOKEN_AUDIENCE", examples=["dispatcher"])
    token_issuer: str | None = Field(None, alias="APP_TOKEN_ISSUER", examples=["https://id.example.com/"])
    chat_origins: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        (), alias="APP_CHAT_ORIGINS", examples=["https://chat.example.com"]
    )
    chat_ping_interval: Duration = Field(20.0, alias="APP_CHAT_PING_INTERVAL", examples=["20s"])
    trusted_network: bool = Field(default=False, alias="APP_TRUSTED_NETWORK", examples=["false"])
    idle_timeout: Duration = Field(60.0, alias="APP_SERVER_IDLE_TIMEOUT", examples=["60s"])
    shutdown_timeout: Duration = Field(15.0, alias="APP_SERVER_SHUTDOWN_TIMEOUT", examples=["15s"])
    dynamic_config: Path | None = Field(
        None, alias="APP_DYNAMIC_CONFIG", examples=["configs/dynamic_config.yaml"]
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", alias="LOG_LEVEL", examples=["info"]
    )
    log_env: Literal["local", "dev", "production"] | None = Field(
        None, alias="LOG_ENV", examples=["production"]
    )
    log_dir: Annotated[Path | None, BeforeValidator(_directory)] = Field(
        Path("logs"), alias="LOG_DIR", examples=["logs"]
    )
    log_retention_days: int = Field(30, alias="LOG_RETENTION_DAYS", ge=1, le=3650, examples=["30"])
    service_name: str = Field(
        "dispatcher", alias="SERVICE_NAME", min_length=1, max_length=64, examples=["dispatcher"]
    )
    use_https: bool = Field(default=False, alias="USE_HTTPS", examples=["false"])
    https_cert: Path | None = Field(None, alias="HTTPS_CERT_PATH", examples=["certs/server.crt"])
    https_key: Path | None = Field(None, alias="HTTPS_KEY_PATH", examples=["certs/server.key"])

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        upper = value.upper() if isinstance(value, str) else value
        return "WARNING" if upper == "WARN" else upper

    @field_validator("db_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value and value.get_secret_value().partition("://")[0] not in {"postgres", "postgresql"}:
            raise ValueError("must begin with postgres:// or postgresql://")
        return value

    @field_validator("redis_addr")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        # its query is looked at by the client: importing that would cost every command 0.2 s
        if value is not None and not _could_be_redis(value.get_secret_value()):
            raise ValueError("is not an address of Redis: host:port, redis://, rediss:// or unix://")
        return value

    @field_validator("api_key")
    @classmethod
    def _is_hard_to_guess(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not re.fullmatch(rf"[!-~]{{{LEAST_KEY},}}", value.get_secret_value()):
            raise ValueError(f"must have at least {LEAST_KEY} printable ASCII characters, and no spaces")
        return value

    @field_validator("token_secret")
    @classmethod
    def _is_long_enough_to_sign(cls, value: SecretStr | None) -> SecretStr | None:
        if value and len(value.get_secret_value().encode()) < LEAST_SECRET:
            raise ValueError(f"must have at least {LEAST_SECRET} bytes (RFC 7518, 3.2)")
        return value

    @field_validator("token_jwks")
    @classmethod
    def _is_url_or_path(cls, value: str | None) -> str | None:
        if (
            value
            and "://" in value
            and not (value.startswith(("http://", "https://")) and parsed_url(value).host)
        ):
            raise ValueError("is neither a URL (http, https) nor the path of a file")
        return value

    @field_validator("etcd_prefix")
    @classmethod
    def _is_prefix(cls, value: str) -> str:
        if not value.startswith("/") or not value.endswith("/") or value == "/":
            raise ValueError("must begin and end with a slash")
        return value

    @model_validator(mode="after")
    def _certificate_is_there(self) -> Self:
        if self.use_https:
            for path, name in ((self.https_cert, "HTTPS_CERT_PATH"), (self.https_key, "HTTPS_KEY_PATH")):
                if path is None or not path.is_file():
                    raise ValueError(
                        f"{name}: USE_HTTPS is on, but {f'there is no file {path}' if path else 'this is not set'}; "
                        f"e.g. {name}=certs/server.{'crt' if 'CERT' in name else 'key'}"
                    )
        return self

    @model_validator(mode="after")
    def _one_kind_of_token(self) -> Self:
        if self.token_secret and self.token_jwks:
            raise ValueError(
                "APP_TOKEN_SECRET, APP_TOKEN_JWKS: both are set; tokens are judged by one of them"
            )
        return self

    @property
    def has_token_keys(self) -> bool:
        """Whether tokens can be judged at all."""
        return self.token_secret is not None or self.token_jwks is not None

    @property
    def redis_url(self) -> str | None:
        """The address in the form that Redis clients take."""
        return None if self.redis_addr is None else _redis_url(self.redis_addr.get_secret_value())

    @property
    def redis_secret(self) -> str | None:
        """Redis's password."""
        return None if self.redis_password is None else self.redis_password.get_secret_value()

    @property
    def log_format(self) -> Literal["local", "dev", "production"]:
        """LOG_ENV, or APP_ENV where that is not set."""
        return self.log_env or self.env

    @property
    def replica(self) -> str:
        """A name for this process in logs and records."""
        return f"{socket.gethostname()}-{os.getpid()}"


def read_settings(environ: Mapping[str, str], *, dotenv: Path | None = Path(".env")) -> Settings:
    """The settings of this environment; a variable that is set and empty counts as not set.

    Raises:
        StartupError: A value is wrong. One line: the variable, what is wrong with it, an example.
    """
    values: dict[str, Any] = {}
    if dotenv is not None and dotenv.is_file():
        values.update({key: value for key, value in dotenv_values(dotenv).items() if value})
    values.update({key: value for key, value in environ.items() if value})
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise StartupError(_one_line(error)) from None


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """`APP_` variables that mean nothing here, each with the name that may have been meant."""
    known = [str(field.alias) for field in Settings.model_fields.values()]
    return {
        name: (difflib.get_close_matches(name, known, n=1) or [""])[0]
        for name in environ
        if name.startswith("APP_") and name not in known and not re.fullmatch(r"APP_SERVER_\w+_TIMEOUT", name)
    }


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    problem = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return problem
    name = str(first["loc"][0])
    field = next(field for field in Settings.model_fields.values() if field.alias == name)
    problem = problem[0].lower() + problem[1:]
    return f"{name}: {problem}; e.g. {name}={(field.examples or [''])[0]}"
