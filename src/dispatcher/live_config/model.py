"""The live configuration: every key, its bounds, its default."""

import re
from datetime import timedelta
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from dispatcher.kernel.address import parsed_url

LEASE_MARGIN_SECONDS = 2.0
"""An attempt's deadline ends at least this long before its lease, so that its result can still be settled."""
ALIVE = "the address the webhook answers at, e.g. https://example.com/hook"

HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")  # RFC 9110, 5.6.2: token


def _webhook_url(value: str) -> str:
    if any(c.isspace() or not c.isprintable() for c in value):
        raise ValueError("must not contain spaces or control characters")
    try:
        parsed_url(value)  # the webhook channel's own reading: what it refuses could never be posted to
        parts = urlsplit(value)
        port = parts.port
    except ValueError:  # whose text may quote a piece of a password
        raise ValueError(f"is not an address that can be posted to ({ALIVE})") from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"must begin with http:// or https:// ({ALIVE})")
    if not parts.hostname:
        raise ValueError(f"has no host ({ALIVE})")
    if port == 0:
        raise ValueError("has port 0")
    return value


Seconds = Annotated[float, Field(allow_inf_nan=False)]


class LiveConfig(BaseModel):
    """One immutable live configuration. Durations are in seconds. `docs/configuration.md` explains each key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    auto_sending: bool = Field(
        default=True, description="Send on boot; a change starts or stops the cluster."
    )
    rate_limit: int = Field(
        default=2, ge=1, le=1_000_000, description="Messages per tick, over all replicas."
    )
    scheduler_interval: Seconds = Field(
        default=120, ge=0.1, le=86_400, description="Seconds from tick to tick."
    )
    scheduler_queue_capacity: int = Field(
        default=100, ge=1, le=1_000_000, description="Ticks made up at most after an overrun or a downtime."
    )
    webhook_url: Annotated[str, Field(max_length=2048), AfterValidator(_webhook_url)] | None = Field(
        default=None, description="Where messages go. Without it nothing is claimed."
    )
    webhook_auth_key: SecretStr | None = Field(
        default=None, max_length=4096, description="Secret sent to the webhook. Never logged, never shown."
    )
    webhook_auth_header: str = Field(
        default="x-ins-auth-key", description="The header that carries webhook_auth_key."
    )
    webhook_timeout: Seconds = Field(
        default=10, ge=0.05, le=300, description="Seconds for one attempt: connect, send, read."
    )
    webhook_concurrency: int = Field(
        default=64, ge=1, le=1024, description="Attempts at the same time, per replica."
    )
    lease_seconds: Seconds = Field(
        default=30, ge=1, le=3600, description="How long a claim is held before it counts as interrupted."
    )
    max_attempts: int = Field(default=5, ge=1, le=100, description="Attempts before a message is failed.")
    backoff_base: Seconds = Field(
        default=5,
        ge=0.01,
        le=3600,
        description="Seconds before the second attempt; doubles with each failure.",
    )
    backoff_cap: Seconds = Field(
        default=3600, ge=0.01, le=86_400, description="The most seconds between two attempts."
    )
    retry_after_cap: Seconds = Field(
        default=3600,
        ge=0,
        le=86_400,
        description="The most seconds that a Retry-After of the webhook is heeded.",
    )
    breaker_failures: int = Field(
        default=20,
        ge=0,
        le=1_000_000,
        description="No connection, no answer or 5xx this often in a row pauses the lane; 0 never does.",
    )
    breaker_base: Seconds = Field(
        default=1,
        ge=0.1,
        le=86_400,
        description="Seconds from the pause to the first probe; doubles with each that fails.",
    )
    breaker_cap: Seconds = Field(
        default=60, ge=0.1, le=86_400, description="The most seconds between two probes."
    )
    on_uncertain: Literal["retry", "hold"] = Field(
        default="retry",
        description="When the receiver may have it: send again with the same id, or hold for a person.",
    )
    echo_workers: int = Field(
        default=10, ge=1, le=1024, description="Batches printed on the console at the same time, per replica."
    )
    echo_batch_size: int = Field(
        default=100, ge=1, le=10_000, description="Messages printed in one go at most."
    )
    echo_timeout: Seconds = Field(
        default=5, ge=0.1, le=300, description="Seconds that a batch waits for a console that takes nothing."
    )
    echo_backoff_base: Seconds = Field(
        default=0.1,
        ge=0.01,
        le=3600,
        description="Seconds that a replica prints nothing after its console failed; doubles with each failure.",
    )
    echo_backoff_cap: Seconds = Field(
        default=10, ge=0.01, le=86_400, description="The most seconds that it prints nothing."
    )
    push_webhook_url: Annotated[str, Field(max_length=2048), AfterValidator(_webhook_url)] | None = Field(
        default=None,
        description="Who is told of members that have not received a chat message. Without it nobody is.",
    )
    push_webhook_auth_key: SecretStr | None = Field(
        default=None, max_length=4096, description="Secret sent there. Never logged, never shown."
    )
    push_webhook_auth_header: str = Field(
        default="x-ins-auth-key", description="The header that carries push_webhook_auth_key."
    )
    push_after: Seconds = Field(
        default=5,
        ge=0.1,
        le=3600,
        description="Seconds without an acknowledgement; it is found to be missing within as many more.",
    )
    retention_days: int = Field(
        default=30,
        ge=1,
        le=3650,
        description="Days that sent, failed and cancelled messages and their attempts are kept.",
    )

    chat_retention_days: int | None = Field(
        default=None,
        ge=1,
        le=36_500,
        description="Days that chat messages are kept, in whole months. Unless set: for ever.",
    )

    @field_validator("webhook_auth_key", "push_webhook_auth_key")
    @classmethod
    def _header_value(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not all(" " <= c <= "~" for c in value.get_secret_value()):
            raise ValueError("must be printable ASCII: it travels in a header")
        return value

    @field_validator("webhook_auth_header", "push_webhook_auth_header")
    @classmethod
    def _header_name(cls, value: str) -> str:
        if not HEADER_NAME.fullmatch(value):
            raise ValueError("is not a header name, e.g. x-ins-auth-key")
        return value

    @model_validator(mode="after")
    def _deadline_ends_before_the_lease(self) -> Self:
        if self.webhook_timeout + LEASE_MARGIN_SECONDS > self.lease_seconds:
            raise ValueError(
                f"webhook_timeout ({self.webhook_timeout:g} s) must end at least {LEASE_MARGIN_SECONDS:g} s before "
                f"lease_seconds ({self.lease_seconds:g} s), or a result could come after its lease"
            )
        return self

    @property
    def interval(self) -> timedelta:
        """The time from tick to tick, exact to the microsecond."""
        return timedelta(seconds=self.scheduler_interval)


SECRET_KEYS = frozenset({"webhook_auth_key", "push_webhook_auth_key"})
URL_KEYS = frozenset({"webhook_url", "push_webhook_url"})


def shown(config: LiveConfig) -> dict[str, object]:
    """The configuration for people: secrets as `(set)`, addresses without credentials, path or query."""
    values: dict[str, object] = config.model_dump()
    for key in SECRET_KEYS:
        values[key] = "(set)" if values[key] else None
    for key in URL_KEYS:
        values[key] = origin_of(getattr(config, key))
    return values


def origin_of(url: str | None) -> str | None:
    """Scheme, host and port of an address; paths and queries of webhooks often hold tokens."""
    if url is None:
        return None
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
