"""The lanes that this product has: what live config means to each of them."""

from datetime import timedelta
from hashlib import sha256

from dispatcher.channels.webhook import Target, WebhookChannel, object_body
from dispatcher.chat import push, schedule
from dispatcher.delivery.lane import Lane, Terms
from dispatcher.delivery.pace import Pace, Probing, each_at_its_time
from dispatcher.delivery.timekeeper import AHEAD_SECONDS
from dispatcher.kernel.web import ANSWER_SECONDS
from dispatcher.live_config.model import LEASE_MARGIN_SECONDS, LiveConfig

WAIT_SECONDS = 2.0
"""How long a batch may wait behind others that are being printed."""


def webhook_terms(config: LiveConfig) -> Terms:
    """What live config says about the webhook lane."""
    return Terms(
        pace=Pace(
            rate_limit=config.rate_limit,
            interval=config.interval,
            queue_capacity=config.scheduler_queue_capacity,
            auto_sending=config.auto_sending,
            blocked=None
            if config.webhook_url
            else "webhook_url is not set; put it into etcd or the YAML file",
            probing=_probing(config),
        ),
        target=_webhook_target(config),
        concurrency=config.webhook_concurrency,
        attempt_seconds=config.webhook_timeout,
        lease_seconds=config.lease_seconds,
        max_attempts=config.max_attempts,
        backoff_base=config.backoff_base,
        backoff_cap=config.backoff_cap,
        retry_after_cap=config.retry_after_cap,
        breaker_failures=config.breaker_failures,
        hold_uncertain=config.on_uncertain == "hold",
    )


def _probing(config: LiveConfig) -> Probing | None:
    if not config.webhook_url or not config.breaker_failures:
        return None
    return Probing(
        # the address itself may hold a token, and the schedule is there for people to look at
        target=sha256(config.webhook_url.encode()).hexdigest()[:16],
        base=timedelta(seconds=config.breaker_base),
        cap=timedelta(seconds=config.breaker_cap),
    )


def _webhook_target(config: LiveConfig) -> Target:
    key = config.webhook_auth_key
    return Target(
        url=config.webhook_url or "",
        auth_header=config.webhook_auth_header,
        auth_key=key.get_secret_value() if key else None,
    )


def open_webhook(config: LiveConfig) -> WebhookChannel:
    """The channel to where live config says that the webhook is."""
    return WebhookChannel(_webhook_target(config), concurrency=config.webhook_concurrency)


WEBHOOK = Lane("webhook", webhook_terms)


def console_terms(config: LiveConfig) -> Terms:
    """What live config says about the console lane."""
    return Terms(
        pace=each_at_its_time(auto_sending=config.auto_sending),
        target="console",
        concurrency=config.echo_workers,
        batch_size=config.echo_batch_size,
        keeps_time=True,
        attempt_seconds=config.echo_timeout,
        lease_seconds=AHEAD_SECONDS + WAIT_SECONDS + config.echo_timeout + LEASE_MARGIN_SECONDS,
        max_attempts=config.max_attempts,
        backoff_base=config.echo_backoff_base,
        backoff_cap=config.echo_backoff_cap,
        retry_after_cap=0.0,
        breaker_failures=0,
        hold_uncertain=config.on_uncertain == "hold",
    )


CONSOLE = Lane("console", console_terms)

SELDOM_SECONDS = 1.0
"""How often a lane looks where most of what comes in is known at once, because this process has put it in."""
FAR_AHEAD_SECONDS = SELDOM_SECONDS + AHEAD_SECONDS
"""So a message is found in time by the look before."""


def push_terms(config: LiveConfig) -> Terms:
    """What live config says about the push lane. Much of it is what it says about the webhook."""
    return Terms(
        pace=each_at_its_time(
            auto_sending=config.auto_sending,
            blocked=None if config.push_webhook_url else "push_webhook_url is not set: nobody is called",
        ),
        target=_push_target(config),
        concurrency=config.webhook_concurrency,
        attempt_seconds=config.webhook_timeout,
        lease_seconds=FAR_AHEAD_SECONDS + WAIT_SECONDS + config.webhook_timeout + LEASE_MARGIN_SECONDS,
        max_attempts=config.max_attempts,
        backoff_base=config.backoff_base,
        # as long as the lane rests while its target fails, too: a call that comes an hour late calls nobody
        backoff_cap=min(config.backoff_cap, config.breaker_cap),
        retry_after_cap=config.retry_after_cap,
        breaker_failures=0,
        hold_uncertain=config.on_uncertain == "hold",
    )


def _push_target(config: LiveConfig) -> Target:
    key = config.push_webhook_auth_key
    return Target(
        url=config.push_webhook_url or "",
        auth_header=config.push_webhook_auth_header,
        auth_key=key.get_secret_value() if key else None,
        prefix="push_",
    )


def open_push(config: LiveConfig) -> WebhookChannel:
    """The channel to whoever calls the members."""
    return WebhookChannel(_push_target(config), concurrency=config.webhook_concurrency, body=object_body)


PUSH = Lane(push.LANE, push_terms)

CHAT_BATCH, CHAT_BATCHES = 100, 4


def chat_terms(config: LiveConfig) -> Terms:
    """What live config says about the lane of chat messages for later."""
    return Terms(
        pace=each_at_its_time(auto_sending=config.auto_sending),
        target="chat",
        concurrency=CHAT_BATCHES,
        batch_size=CHAT_BATCH,
        keeps_time=True,
        attempt_seconds=ANSWER_SECONDS,
        lease_seconds=FAR_AHEAD_SECONDS + WAIT_SECONDS + ANSWER_SECONDS + LEASE_MARGIN_SECONDS,
        max_attempts=config.max_attempts,
        backoff_base=0.1,
        backoff_cap=5.0,
        retry_after_cap=0.0,
        breaker_failures=0,
        hold_uncertain=False,  # attempted twice it is sent once: there is nothing to decide
    )


CHAT = Lane(schedule.LANE, chat_terms)
LANES = (WEBHOOK, CONSOLE, PUSH, CHAT)
REPEATABLE = frozenset({CHAT.name})
"""Lanes in which two attempts are one message."""


def longest_lease(config: LiveConfig) -> float:
    """How many seconds a lease of any lane lasts at most."""
    return max(lane.terms(config).lease_seconds for lane in LANES)
