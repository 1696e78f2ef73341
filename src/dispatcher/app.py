"""The composition root: everything is built here, in order, once; nothing is constructed when a module is imported."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from dispatcher import __version__
from dispatcher.channels.console import ConsoleChannel
from dispatcher.channels.console_line import JsonLine, Line, plain_line
from dispatcher.channels.console_output import ConsoleOutput
from dispatcher.chat.jwks import PublishedKeys
from dispatcher.chat.live.endpoint import PATHS as SOCKET_PATHS
from dispatcher.chat.live.live import Live
from dispatcher.chat.months import keep_months
from dispatcher.chat.routes import PREFIX as CHAT_PREFIX
from dispatcher.chat.routes import chat_routes
from dispatcher.chat.token import SharedSecret, Tokens
from dispatcher.chat_at_work import Chat, chatting, pushing
from dispatcher.delivery.rescuer import Rescuer
from dispatcher.delivery.routes import delivery_routes
from dispatcher.delivery.switches import LaneSwitch, Switches
from dispatcher.delivery.timekeeper import Timekeeper
from dispatcher.delivery.upkeep import Upkeep
from dispatcher.health import health_routes
from dispatcher.kernel.api_key import ApiKey
from dispatcher.kernel.database_clock import DatabaseClock
from dispatcher.kernel.db import Pool, connected_pool, database_identity
from dispatcher.kernel.etcd import EtcdDirectory
from dispatcher.kernel.foreign_pages import NoForeignPages
from dispatcher.kernel.lifecycle import background
from dispatcher.kernel.operator_only import OperatorOnly
from dispatcher.kernel.redis import BoundedRedis
from dispatcher.kernel.web import BodyLimit, Correlation, handle_errors
from dispatcher.lanes import CHAT, CONSOLE, PUSH, REPEATABLE, WEBHOOK, longest_lease
from dispatcher.lanes_at_work import Shared, at_a_rate, each_at_its_time
from dispatcher.live_config.follow import LiveConfigFollower
from dispatcher.messages.arrived import Arrived
from dispatcher.messages.echo_routes import echo_route
from dispatcher.messages.ingest import Ingest
from dispatcher.messages.ingest_docs import BODY_BYTES
from dispatcher.messages.ingest_routes import PATH, ingest_route
from dispatcher.messages.move_routes import move_routes
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
CHAT_POOL_SIZE = 5
"""For what people ask."""
CHAT_SENDER_POOL_SIZE = 2
"""For what people send, which must not wait for those who read: one writes, and one more when Postgres has not let go of it."""
SOCKET_POOL_SIZE = 3
"""For sockets: those that come, all at once perhaps, must not hold up what is sent."""
OPEN = ("/", "/docs", "/openapi.json", "/swagger/index.html", "/health")
"""Paths that want no key. Without it they tell nothing but what the program is and whether it works."""
ETCD_PATIENCE_SECONDS = 3.0
"""How long a start waits for etcd before it goes on with the last good live config."""

DESCRIPTION = """
Takes messages from PostgreSQL and delivers them to a webhook at an exact rate, on any number of replicas.

Put messages in with `POST /messages`, with `INSERT INTO messages (recipient_phone, content) VALUES ('+905551111111',
'Hello')`, or with `dispatcher send`; a text for the console at a time with `POST /echoAtTime`. Errors are problem details
(RFC 9457). Times in answers are ISO 8601, in UTC.

Under `/api/v1` people talk to each other, with a token each. With `APP_API_KEY` set, everything else but `/health` wants
that key, as `X-API-Key`.
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


@asynccontextmanager
async def running(
    settings: Settings, addresses: Addresses, *, live_file: Mapping[str, Any], console_fd: int | None
) -> AsyncIterator[Application]:
    """The service, for as long as the block runs.

    `live_file` holds the values below etcd's. `console_fd` is where the console lane prints; None when standard
    output is closed.

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
        redis = BoundedRedis(
            addresses.redis_url,
            password=settings.redis_secret,
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
        rescuer = Rescuer(
            *(pool, redis, recent, follower.live),
            replica=replica,
            longest_lease=longest_lease,
            repeatable=REPEATABLE,
        )
        await stack.enter_async_context(background("rescuer", rescuer.run))

        async def keep_chat() -> None:
            await keep_months(pool, days=follower.live.value.chat_retention_days)

        upkeep = Upkeep(pool, follower.live, also=[keep_chat])
        await stack.enter_async_context(background("upkeep", upkeep.run))
        shared = Shared(replica, settings.shutdown_timeout, follower, pool, redis, recent)
        ticker = await stack.enter_async_context(at_a_rate(WEBHOOK, shared))
        clock = DatabaseClock()
        console = ConsoleChannel(ConsoleOutput(console_fd), line=_line(settings), now=clock.now)
        stack.callback(console.close)
        timekeeper = await stack.enter_async_context(each_at_its_time(CONSOLE, console, clock, shared))
        key = ApiKey(settings.api_key.get_secret_value()) if settings.api_key else None
        chat = await stack.enter_async_context(
            _chatting(addresses, settings, application=application, key=key, shared=shared)
        )
        push_lane = await stack.enter_async_context(pushing(shared))

        api = _api(key, trusted_network=settings.trusted_network)

        def blocked() -> str | None:
            return WEBHOOK.terms(follower.live.value).pace.blocked

        switches = Switches(
            api_pool,
            LaneSwitch(WEBHOOK.name, ticker.wake, blocked),
            LaneSwitch(CONSOLE.name, timekeeper.wake, lambda: timekeeper.problem),
            chat.switch,
            LaneSwitch(PUSH.name, push_lane.wake, lambda: None),
        )
        keepers: dict[str, Timekeeper] = {
            CONSOLE.name: timekeeper,
            CHAT.name: chat.keeper,
            PUSH.name: push_lane,
        }
        arrived: Arrived = {name: keeper.arrived for name, keeper in keepers.items()}
        ingest = Ingest(ingest_pool, arrived)
        await stack.enter_async_context(background("ingest", ingest.run))
        api.router.routes[:0] = [
            ingest_route(ingest),
            echo_route(ingest, clock.now),
        ]  # those that are called most
        api.include_router(delivery_routes(api_pool, switches))
        for routes in (message_routes, many_messages_routes, one_message_routes):
            api.include_router(routes(api_pool, recent))
        api.include_router(move_routes(api_pool, arrived, clock.now))
        api.include_router(
            health_routes(
                identity={"service": settings.service_name, "version": __version__, "replica": replica},
                pool=api_pool,
                redis=redis,
                etcd=etcd,
                follower=follower,
                switches=switches,
                others={
                    "upkeep": lambda: upkeep.problem,
                    "console": lambda: console.problem,
                    "tokens": lambda: None if chat.tokens is None else chat.tokens.problem,
                },
                key=key,
            )
        )
        api.include_router(chat_routes(chat.parts))
        api.router.routes.extend(chat.sockets.routes())
        for path in ("/swagger/index.html", "/"):
            api.add_api_route(path, _docs, include_in_schema=False)

        def stop_claiming() -> None:
            ticker.stop()
            for keeper in keepers.values():
                keeper.stop()

        yield Application(
            api,
            pool,
            stop_claiming,
            drain=lambda: chat.sockets.drain(seconds=settings.shutdown_timeout / 3),
        )


@asynccontextmanager
async def _chatting(
    addresses: Addresses, settings: Settings, *, application: str, key: ApiKey | None, shared: Shared
) -> AsyncIterator[Chat]:
    async with (
        connected_pool(addresses.db_url, application=application, size=CHAT_POOL_SIZE) as pool,
        connected_pool(addresses.db_url, application=application, size=CHAT_SENDER_POOL_SIZE) as sender_pool,
        connected_pool(addresses.db_url, application=application, size=SOCKET_POOL_SIZE) as socket_pool,
        _tokens(settings) as tokens,
    ):
        live = Live(
            *(socket_pool, shared.redis, addresses.redis_url),
            password=settings.redis_secret,
            db=settings.redis_db,
            replica=settings.replica,
        )
        async with chatting(
            *(shared, pool, sender_pool, live),
            tokens=tokens,
            key=key,
            origins=settings.chat_origins,
            ping_seconds=settings.chat_ping_interval,
        ) as chat:
            yield chat


@asynccontextmanager
async def _tokens(settings: Settings) -> AsyncIterator[Tokens | None]:
    """What checks tokens; None where none are asked for."""
    named = {"audience": settings.token_audience, "issuer": settings.token_issuer}
    if settings.token_secret is not None:
        yield Tokens(SharedSecret(settings.token_secret.get_secret_value()), **named)
    elif settings.token_jwks is not None:
        published = PublishedKeys(settings.token_jwks)
        async with background("token keys", published.run):
            yield Tokens(published, **named)
    else:
        yield None


def _line(settings: Settings) -> Line:
    if settings.log_format != "production":
        return plain_line
    return JsonLine(service=settings.service_name, version=__version__, replica=settings.replica)


def _api(key: ApiKey | None, *, trusted_network: bool) -> FastAPI:
    """The API without a route yet."""
    api = FastAPI(title="Dispatcher", version=__version__, description=DESCRIPTION, redoc_url=None)
    handle_errors(api)
    api.add_middleware(BodyLimit, larger={PATH: BODY_BYTES})
    if key is None:
        api.add_middleware(NoForeignPages, documents=OPEN, any_host=trusted_network)
    else:
        api.add_middleware(OperatorOnly, key=key, exact=(*OPEN, *SOCKET_PATHS), below=(f"{CHAT_PREFIX}/",))
    api.add_middleware(Correlation)
    return api


async def _docs() -> RedirectResponse:
    return RedirectResponse("/docs")
