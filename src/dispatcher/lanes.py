"""The lanes that this product has: what live config means to each of them."""

from datetime import timedelta
from hashlib import sha256

from dispatcher.channels.webhook import Target, WebhookChannel, object_body
from dispatcher.chat.push import LANE as PUSH_LANE
from dispatcher.chat.push import is_pushing
from dispatcher.chat.schedule import LANE as CHAT_LANE
from dispatcher.delivery.lane import Lane, Terms
from dispatcher.delivery.pace import Pace, Probing, each_at_its_time
from dispatcher.delivery.timekeeper import AHEAD_SECONDS
from dispatcher.live_config.model import LEASE_MARGIN_SECONDS, LiveConfig

WAIT_SECONDS = 2.0
"""How long a batch may wait behind others that are being printed."""

CHAT_BATCHES, CHAT_BATCH = 2, 100
CHAT_SECONDS = 6.0
"""One attempt to send; the chat sender itself gives up after 5 s."""
CHAT_BACKOFF_BASE, CHAT_BACKOFF_CAP = 1.0, 60.0


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

SELDOM_SECONDS = 2.0
"""How often a lane looks where most of what comes in is known at once, because this process has put it in."""
FAR_AHEAD_SECONDS = SELDOM_SECONDS + AHEAD_SECONDS
"""So what comes in by itself is found in time by the look before."""


def chat_terms(config: LiveConfig) -> Terms:
    """What live config says about the lane of chat messages for later."""
    return Terms(
        pace=each_at_its_time(auto_sending=config.auto_sending),
        target="chat",
        concurrency=CHAT_BATCHES,
        batch_size=CHAT_BATCH,
        keeps_time=True,
        attempt_seconds=CHAT_SECONDS,
        lease_seconds=FAR_AHEAD_SECONDS + WAIT_SECONDS + CHAT_SECONDS + LEASE_MARGIN_SECONDS,
        max_attempts=config.max_attempts,
        backoff_base=CHAT_BACKOFF_BASE,
        backoff_cap=CHAT_BACKOFF_CAP,
        retry_after_cap=0.0,
        breaker_failures=0,
        hold_uncertain=False,  # sent again, it is found to be there
    )


CHAT = Lane(CHAT_LANE, chat_terms)


def push_terms(config: LiveConfig) -> Terms:
    """What live config says about the push lane. Much of it is what it says about the webhook."""
    blocked = None if is_pushing(config) else "push_webhook_url is not set: nobody is called"
    return Terms(
        pace=each_at_its_time(auto_sending=config.auto_sending, blocked=blocked),
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


PUSH = Lane(PUSH_LANE, push_terms)
LANES = (WEBHOOK, CONSOLE, CHAT, PUSH)
REPEATABLE = frozenset({CHAT.name})
"""Lanes in which two attempts are one message."""


def longest_lease(config: LiveConfig) -> float:
    """How many seconds a lease of any lane lasts at most."""
    return max(lane.terms(config).lease_seconds for lane in LANES)
