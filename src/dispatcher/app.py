"""The composition root: everything is built here, in order, once; nothing is constructed when a module is imported."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI
from fastapi.responses import RedirectResponse

from dispatcher import __version__
from dispatcher.channels.webhook import Target, WebhookChannel
from dispatcher.chat.caller import Callers
from dispatcher.chat.jwks import PublishedKeys
from dispatcher.chat.live.endpoint import PATHS as SOCKET_PATHS
from dispatcher.chat.live.endpoint import Endpoint
from dispatcher.chat.live.live import Live
from dispatcher.chat.months import keep_months
from dispatcher.chat.open_dm import Pairs
from dispatcher.chat.parts import ChatParts
from dispatcher.chat.routes import PREFIX as CHAT_PREFIX
from dispatcher.chat.routes import chat_routes
from dispatcher.chat.send import Sender
from dispatcher.chat.token import SharedSecret, TokenKeys, Tokens
from dispatcher.delivery.lane import ChannelPool, Lane, Terms
from dispatcher.delivery.pace import Pace, Probing
from dispatcher.delivery.publisher import StatePublisher
from dispatcher.delivery.pump import PumpParts
from dispatcher.delivery.rescuer import Rescuer
from dispatcher.delivery.routes import delivery_routes
from dispatcher.delivery.settler import Settler
from dispatcher.delivery.target import TargetWatch
from dispatcher.delivery.ticker import Ticker
from dispatcher.delivery.tuner import Tuner
from dispatcher.delivery.upkeep import Upkeep
from dispatcher.health import health_routes
from dispatcher.kernel.api_key import ApiKey, OperatorOnly
from dispatcher.kernel.db import UNAVAILABLE, Pool, connected_pool, database_identity
from dispatcher.kernel.etcd import EtcdDirectory
from dispatcher.kernel.lifecycle import background, draining
from dispatcher.kernel.redis import BoundedRedis
from dispatcher.kernel.web import BodyLimit, Correlation, handle_errors
from dispatcher.live_config.follow import LiveConfigFollower
from dispatcher.live_config.model import LiveConfig
from dispatcher.messages.ingest import Ingest
from dispatcher.messages.ingest_docs import BODY_BYTES
from dispatcher.messages.ingest_routes import PATH, ingest_route
from dispatcher.messages.recent import RecentSent
from dispatcher.messages.routes import message_routes
from dispatcher.messages.routes_many import many_messages_routes
from dispatcher.messages.routes_one import one_message_routes
from dispatcher.settings import Settings

log = structlog.get_logger()

POOL_SIZE = 10
API_POOL_SIZE = 5
"""The API's own connections: a delivery that uses all of its does not make `/health` say that Postgres is down."""
INGEST_POOL_SIZE = 4
"""For what is put in: one connection for single messages, one for those with a key, two for bulk."""
CHAT_POOL_SIZE = 6
"""For what people ask; one of them writes what they send."""
OPEN = ("/", "/docs", "/openapi.json", "/swagger/index.html", "/health")
"""Paths that want no key. They tell nothing but what the program is and whether it works."""
ETCD_PATIENCE_SECONDS = 3.0
"""How long a start waits for etcd before it goes on with the last good live config."""

DESCRIPTION = """
Takes messages from PostgreSQL and delivers them to a webhook at an exact rate, on any number of replicas.

Put messages in with `POST /messages`, with `INSERT INTO messages (recipient_phone, content) VALUES ('+905551111111',
'Hello')`, or with `dispatcher send`. Errors are problem details (RFC 9457). Times are ISO 8601, in UTC.
"""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the three servers are, the environment's or the embedded ones."""

    db_url: str
    redis_url: str
    etcd_endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Application:
    """A running service."""

    api: FastAPI
    pool: Pool
    stop_claiming: Callable[[], None]
    """Claim nothing more, at once; what is being sent goes on. The first thing that a shutdown does."""
    drain: Callable[[], Awaitable[None]]
    """Send the sockets away, a few at a time, so that they do not all come back at once. The second thing."""


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


WEBHOOK = Lane(
    name="webhook",
    terms=webhook_terms,
    open_channel=lambda config: WebhookChannel(
        _webhook_target(config), concurrency=config.webhook_concurrency
    ),
)


@asynccontextmanager
async def running(
    settings: Settings, addresses: Addresses, *, live_file: Mapping[str, Any]
) -> AsyncIterator[Application]:
    """The service, for as long as the block runs. `live_file` holds the values below etcd's.

    Raises:
        StartupError: Postgres cannot be reached.
    """
    replica = settings.replica
    async with AsyncExitStack() as stack:
        application = f"{settings.service_name} {replica}"
        pool = await stack.enter_async_context(
            connected_pool(addresses.db_url, application=application, size=POOL_SIZE)
        )
        api_pool = await stack.enter_async_context(
            connected_pool(addresses.db_url, application=application, size=API_POOL_SIZE)
        )
        ingest_pool = await stack.enter_async_context(
            connected_pool(addresses.db_url, application=application, size=INGEST_POOL_SIZE)
        )
        chat_pool = await stack.enter_async_context(
            connected_pool(addresses.db_url, application=application, size=CHAT_POOL_SIZE)
        )
        redis = BoundedRedis(
            addresses.redis_url,
            password=_secret(settings),
            db=settings.redis_db,
            prefix=f"dispatcher:{await database_identity(pool)}:",
        )
        stack.push_async_callback(redis.close)
        etcd = EtcdDirectory(addresses.etcd_endpoints, prefix=settings.etcd_prefix)
        follower = LiveConfigFollower(etcd, pool, file=live_file)
        await follower.catch_up()
        await stack.enter_async_context(background("live config", follower.run))
        if not await follower.listed(seconds=ETCD_PATIENCE_SECONDS):
            log.warning("started_without_etcd", error=etcd.problem)

        recent = RecentSent(redis)
        rescuer = Rescuer(pool, redis, recent, follower.live, replica=replica)
        await stack.enter_async_context(background("rescuer", rescuer.run))

        async def keep_chat() -> None:
            await keep_months(pool, days=follower.live.value.chat_retention_days)

        upkeep = Upkeep(pool, follower.live, also=[keep_chat])
        await stack.enter_async_context(background("upkeep", upkeep.run))
        ticker = await stack.enter_async_context(
            _delivering(WEBHOOK, follower, pool, redis, recent, settings=settings)
        )

        api = FastAPI(title="Dispatcher", version=__version__, description=DESCRIPTION, redoc_url=None)
        handle_errors(api)
        api.add_middleware(BodyLimit, larger={PATH: BODY_BYTES})
        key = ApiKey(settings.api_key.get_secret_value()) if settings.api_key else None
        if key is not None:
            api.add_middleware(
                OperatorOnly, key=key, exact=(*OPEN, *SOCKET_PATHS), below=(f"{CHAT_PREFIX}/",)
            )
        api.add_middleware(Correlation)

        def blocked() -> str | None:
            return WEBHOOK.terms(follower.live.value).pace.blocked

        ingest = Ingest(ingest_pool)
        await stack.enter_async_context(background("ingest", ingest.run))
        api.router.routes.insert(0, ingest_route(ingest))  # the one that is called most
        api.include_router(delivery_routes(api_pool, WEBHOOK.name, changed=ticker.wake, blocked=blocked))
        for routes in (message_routes, many_messages_routes, one_message_routes):
            api.include_router(routes(api_pool, recent))
        api.include_router(
            health_routes(
                identity={"service": settings.service_name, "version": __version__, "replica": replica},
                pool=api_pool,
                redis=redis,
                etcd=etcd,
                follower=follower,
                upkeep=upkeep,
                lane=WEBHOOK.name,
                blocked=blocked,
            )
        )
        live = Live(
            *(chat_pool, redis, addresses.redis_url),
            password=_secret(settings),
            db=settings.redis_db,
            replica=replica,
        )
        chat, sockets = await stack.enter_async_context(_chat(chat_pool, live, settings=settings, key=key))
        api.include_router(chat)
        api.router.routes.extend(sockets.routes())
        api.add_api_route("/swagger/index.html", _docs, include_in_schema=False)
        api.add_api_route("/", _docs, include_in_schema=False)
        yield Application(
            api, pool, ticker.stop, drain=lambda: sockets.drain(seconds=settings.shutdown_timeout / 3)
        )


@asynccontextmanager
async def _delivering(
    lane: Lane,
    follower: LiveConfigFollower,
    pool: Pool,
    redis: BoundedRedis,
    recent: RecentSent,
    *,
    settings: Settings,
) -> AsyncIterator[Ticker]:
    """One lane at work: results are written until the last attempt has ended."""
    replica = settings.replica
    async with AsyncExitStack() as stack:
        settler = Settler(pool, redis, recent, lane=lane.name, replica=replica)
        await stack.enter_async_context(background("settler", settler.run))
        channels = ChannelPool(lane)
        stack.push_async_callback(channels.close)
        publisher = StatePublisher(redis)
        await stack.enter_async_context(background("state publisher", publisher.run))
        target = TargetWatch(pool, lane.name)
        await stack.enter_async_context(background("target watch", target.run))
        parts = PumpParts(lane, follower.live, pool, settler, channels, follower.catch_up, target)
        tuner = Tuner(lane, follower.live, pool, keep=follower.keep)
        ticker = Ticker(parts, publisher, tuner, replica=replica)
        with suppress(*UNAVAILABLE):  # the loop goes on trying
            await tuner.apply()
        await stack.enter_async_context(background("tuner", tuner.run))
        await stack.enter_async_context(
            draining("ticker", ticker.run, ticker.stop, seconds=settings.shutdown_timeout)
        )
        yield ticker


@asynccontextmanager
async def _chat(
    pool: Pool, live: Live, *, settings: Settings, key: ApiKey | None
) -> AsyncIterator[tuple[APIRouter, Endpoint]]:
    """The routes of chat and its sockets, and what they stand on."""
    async with AsyncExitStack() as stack:
        tokens = None
        if settings.token_secret is not None:
            tokens = _tokens(settings, SharedSecret(settings.token_secret.get_secret_value()))
        elif settings.token_jwks is not None:
            published = PublishedKeys(settings.token_jwks)
            await stack.enter_async_context(background("token keys", published.run))
            tokens = _tokens(settings, published)
        sender, pairs = Sender(pool, live.tell), Pairs(pool, live.tell)
        await stack.enter_async_context(background("chat sender", sender.run))
        sockets = await stack.enter_async_context(
            live.running(
                *(sender, pairs),
                tokens=tokens,
                key=key,
                origins=settings.chat_origins,
                ping_seconds=settings.chat_ping_interval,
            )
        )
        routes = chat_routes(
            ChatParts(
                pool=pool,
                callers=Callers(tokens=tokens, key=key),
                sender=sender,
                pairs=pairs,
                tell=live.tell,
                schedule=None,  # until an engine works off the lane `chat`
            )
        )
        yield routes, sockets


def _tokens(settings: Settings, keys: TokenKeys) -> Tokens:
    return Tokens(keys, audience=settings.token_audience, issuer=settings.token_issuer)


async def _docs() -> RedirectResponse:
    return RedirectResponse("/docs")


def _secret(settings: Settings) -> str | None:
    return settings.redis_password.get_secret_value() if settings.redis_password else None
