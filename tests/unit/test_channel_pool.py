"""Which channel a message goes through when the target changes, and when an old one is closed."""

from dispatcher.channels.contract import Envelope, Outcome, Rejected
from dispatcher.delivery.lane import ChannelPool
from dispatcher.lanes import webhook_terms
from dispatcher.live_config.model import LiveConfig

ONE = LiveConfig(webhook_url="http://one/")
TWO = LiveConfig(webhook_url="http://two/")


class CountedChannel:
    """A channel of which it is known whether it is open."""

    def __init__(self, config: LiveConfig, opened: list["CountedChannel"]) -> None:
        self.url = config.webhook_url
        self.closed = 0
        opened.append(self)

    async def deliver(self, envelope: Envelope, *, seconds: float) -> Outcome:
        return Rejected(f"{envelope.message_id} in {seconds}")

    async def close(self) -> None:
        self.closed += 1


def channels() -> tuple[ChannelPool, list[CountedChannel]]:
    opened: list[CountedChannel] = []
    return ChannelPool(lambda config: CountedChannel(config, opened)), opened


async def test_one_channel_serves_a_target() -> None:
    pool, opened = channels()
    for _ in range(3):
        await pool.give_back(pool.borrow(ONE, webhook_terms(ONE)))
    other_rate = ONE.model_copy(update={"rate_limit": 9})
    await pool.give_back(pool.borrow(other_rate, webhook_terms(other_rate)))
    assert [(channel.url, channel.closed) for channel in opened] == [("http://one/", 0)]
    await pool.close()
    assert opened[0].closed == 1


async def test_a_channel_of_an_earlier_target_is_closed_by_its_last_user() -> None:
    pool, opened = channels()
    first, second = (pool.borrow(ONE, webhook_terms(ONE)) for _ in range(2))
    third = pool.borrow(TWO, webhook_terms(TWO))
    await pool.give_back(first)
    assert opened[0].closed == 0
    await pool.give_back(second)
    await pool.give_back(third)
    assert [(channel.url, channel.closed) for channel in opened] == [("http://one/", 1), ("http://two/", 0)]
    await pool.close()
    assert [channel.closed for channel in opened] == [1, 1]


async def test_an_idle_channel_is_closed_too_when_the_target_changes() -> None:
    pool, opened = channels()
    await pool.give_back(pool.borrow(ONE, webhook_terms(ONE)))
    await pool.give_back(pool.borrow(TWO, webhook_terms(TWO)))
    assert [channel.closed for channel in opened] == [1, 0]
    await pool.close()
    assert [channel.closed for channel in opened] == [1, 1]
