"""Give back: release messages of which no attempt has begun, through an outage of Postgres."""

from collections.abc import Sequence

import structlog

from dispatcher.delivery.by_halves import by_halves
from dispatcher.kernel import backoff
from dispatcher.kernel.clock import elapsed, pause
from dispatcher.kernel.db import UNAVAILABLE, Pool
from dispatcher.messages.claim import ClaimedMessage
from dispatcher.messages.release import release

log = structlog.get_logger()

SAID_IDS = 10
"""Messages that a log line names at most."""


async def give_back(pool: Pool, messages: Sequence[ClaimedMessage]) -> None:
    """Release them, while their leases last: nobody else knows that they were not sent. Then the rescuer does.

    Raises nothing: whoever gives something back has attempts under way that must not end by it.
    """

    async def write(some: Sequence[ClaimedMessage]) -> None:
        await release(pool, some)

    failures = 0
    while True:
        try:
            await by_halves(write, messages, refused=_say_refused)
        except UNAVAILABLE as error:
            failures += 1
            wait = backoff.delay(failures, base=0.1, cap=1.0)
            if elapsed() + wait > max(message.lease.ends for message in messages):
                log.warning(
                    "release_failed", messages=len(messages), error=str(error) or type(error).__name__
                )
                return
            await pause(wait)
        except Exception:
            log.exception("release_broke", message_ids=[message.id for message in messages][:SAID_IDS])
            return
        else:
            return


def _say_refused(message: ClaimedMessage, error: Exception) -> None:
    log.warning("release_refused", message_id=message.id, error=str(error))
