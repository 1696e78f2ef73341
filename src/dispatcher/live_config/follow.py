"""Follows etcd: each listing becomes a snapshot, and the last good one is kept in Postgres."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import structlog

from dispatcher.kernel.clock import wait_for
from dispatcher.kernel.db import UNAVAILABLE, Pool
from dispatcher.kernel.etcd import EtcdDirectory, Listing
from dispatcher.kernel.live import Live, Origin, Snapshot
from dispatcher.live_config import store
from dispatcher.live_config.model import LiveConfig, shown
from dispatcher.live_config.resolve import resolve, resolve_again
from dispatcher.live_config.store import LastGood

log = structlog.get_logger()


class LiveConfigFollower:
    """Keeps `live` up to date with etcd."""

    def __init__(self, directory: EtcdDirectory, pool: Pool, *, file: Mapping[str, Any]) -> None:
        self._directory = directory
        self._pool = pool
        self._file = file
        self._last_good: LastGood | None = None
        self._listing: LastGood | None = None
        """What etcd itself said last, to see it begin anew; until it has, what was kept of it."""
        self._kept = True
        self._listed = asyncio.Event()
        self._said: dict[str, int] = {}
        self.refused: Mapping[str, str] = {}
        """Keys whose etcd value is refused, with the reason."""
        self.emptied = False
        """True while etcd has lost its data and the last good values stay in force."""
        self.live: Live[LiveConfig] = Live(Snapshot(LiveConfig.model_validate(dict(file)), None))

    async def catch_up(self) -> None:
        """Take over what a replica that knows more has accepted: at a start, and when cut off from etcd."""
        stored = await store.load(self._pool)
        if stored is None or (self._last_good is not None and stored.origin <= self._last_good.origin):
            return
        # judged anew: the file, or the bounds of this version, may have changed since
        resolution = resolve_again(stored.entries, file=self._file)
        self._say_refusals(stored.entries, resolution.refused)
        self._last_good = replace(stored, entries=dict(resolution.accepted))
        if self._listing is None:
            self._listing = stored
        self._publish(self._last_good)

    async def listed(self, *, seconds: float) -> bool:
        """Wait for the first listing, at most this long. False: etcd has not answered yet."""
        return await wait_for(self._listed, seconds)

    async def run(self) -> None:
        """Follow etcd forever."""
        async for listing in self._directory.listings():
            await self._take(listing)
            self._listed.set()

    def sources(self) -> dict[str, str]:
        """Per key: `etcd`, `file` or `default`."""
        from_etcd = self._last_good.entries if self._last_good else {}
        return {
            key: "etcd" if key in from_etcd else "file" if key in self._file else "default"
            for key in LiveConfig.model_fields
        }

    async def _take(self, listing: Listing) -> None:
        before, known = self._listing, self._last_good
        began_anew = before is not None and (
            listing.cluster_id != before.cluster_id or listing.revision < before.origin.revision
        )
        self.emptied = bool(known and known.entries and began_anew and not listing.entries)
        if self.emptied:
            # An etcd that begins anew with nothing has lost its data, which is not a wish to delete every key:
            # the last good values stay until the first key is put.
            log.error("etcd_came_back_empty", kept=sorted(known.entries) if known else [])
            return
        origin = Origin(
            await self._epoch(before.origin.epoch + began_anew if before else 0), listing.revision
        )
        known = self._last_good  # it may have caught up meanwhile
        resolution = resolve(listing.entries, file=self._file, last_good=known.entries if known else {})
        self._listing = LastGood(listing.cluster_id, origin, dict(resolution.accepted))
        if known is not None and origin < known.origin:
            return  # another replica was faster with a later one; ours is on its way
        self._say_refusals(listing.entries, resolution.refused)
        self._last_good, self._kept = self._listing, False
        with suppress(*UNAVAILABLE):  # nothing is sent while Postgres is away; it is kept before that changes
            await self.keep()
        self._publish(self._listing)

    async def keep(self) -> None:
        """Store what was accepted last, for a start without etcd and for replicas that are cut off from it."""
        if not self._kept and self._last_good is not None:
            keeping = self._last_good
            await store.save(self._pool, keeping)
            self._kept = keeping is self._last_good

    async def _epoch(self, own: int) -> int:
        """Ours, or that of a replica that saw etcd begin anew while we were cut off from it."""
        try:
            stored = await store.load(self._pool)
        except UNAVAILABLE:
            stored = None
        known = self._last_good
        return max(own, stored.origin.epoch if stored else 0, known.origin.epoch if known else 0)

    def _say_refusals(self, values: Mapping[str, str | bytes], refused: Mapping[str, str]) -> None:
        """One line per refused value, not one per listing that still holds it."""
        hashes = {key: hash(values[key]) for key in refused}
        for key, reason in refused.items():
            if self._said.get(key) != hashes[key]:
                log.error("live_value_refused", key=key, reason=reason)
        self._said = hashes
        self.refused = dict(refused)

    def _publish(self, good: LastGood) -> None:
        before = self.live.value
        config = LiveConfig.model_validate({**self._file, **good.entries})
        was, now = shown(before), shown(config)
        changed = {key: now[key] for key in now if getattr(before, key) != getattr(config, key)}
        if changed:
            log.info(
                "live_config_changed",
                revision=good.origin.revision,
                **changed,
                was={key: was[key] for key in changed},
            )
        self.live.publish(Snapshot(config, good.origin))
