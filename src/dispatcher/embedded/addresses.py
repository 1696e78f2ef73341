"""Where the servers are: as a value, as shell lines, and as the record the data folder's lock carries."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Addresses:
    """The servers started here; None = not started here."""

    db_url: str | None = None
    """`postgresql://user@/database?host=/folder/of/the/socket`."""
    redis_addr: str | None = None
    """`unix:///path/of/the/socket`, percent-encoded like every URL."""
    etcd_endpoints: tuple[str, ...] | None = None
    """`host:port` each."""


def shell_lines(addresses: Addresses) -> list[str]:
    """Lines for sh that let another shell use these servers, `etcdctl` included."""
    variables: dict[str, str] = {}
    if addresses.db_url is not None:
        variables["APP_DB_URL"] = addresses.db_url
    if addresses.redis_addr is not None:
        variables["APP_REDIS_ADDR"] = addresses.redis_addr
    if addresses.etcd_endpoints is not None:
        variables["APP_REMOTE_ETCD_ENDPOINTS"] = json.dumps(addresses.etcd_endpoints)
        variables["ETCDCTL_ENDPOINTS"] = ",".join(addresses.etcd_endpoints)
    return [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]


def to_record(addresses: Addresses) -> dict[str, Any]:
    return {
        "db_url": addresses.db_url,
        "redis_addr": addresses.redis_addr,
        "etcd_endpoints": addresses.etcd_endpoints,
    }


def from_record(record: Mapping[str, Any]) -> Addresses:
    endpoints = record.get("etcd_endpoints")
    return Addresses(
        db_url=record.get("db_url"),
        redis_addr=record.get("redis_addr"),
        etcd_endpoints=tuple(endpoints) if endpoints is not None else None,
    )
