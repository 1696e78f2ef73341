"""What a statement reads, as Postgres counts it."""

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import orjson

from dispatcher.kernel.db import Connection


class Read:
    """What one run of a statement read."""

    def __init__(self, plan: dict[str, Any]) -> None:
        nodes = [node for node in _nodes(plan) if node["Actual Loops"]]
        self.indexes = {_parent(node["Index Name"]) for node in nodes if "Index Name" in node}
        self.rows = sum(
            (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            for node in nodes
            if node["Node Type"] in {"Index Scan", "Index Only Scan", "Seq Scan", "Bitmap Heap Scan"}
        )
        self.steps = sum((node["Actual Rows"] + _removed(node)) * node["Actual Loops"] for node in nodes)
        # a CTE that nothing reads is run at the end, and is not in the sum of the whole
        read = {f"CTE {node['CTE Name']}" for node in nodes if "CTE Name" in node}
        apart = [node for node in nodes if node.get("Subplan Name", "").startswith("CTE ")]
        unread = [node for node in apart if node["Subplan Name"] not in read]
        self.buffers = sum(node["Shared Hit Blocks"] + node["Shared Read Blocks"] for node in (plan, *unread))
        self.kinds = {node["Node Type"] for node in nodes}

    def must(self, *, index: str, rows: int, buffers: int) -> None:
        assert index in self.indexes, self.indexes
        assert "Seq Scan" not in self.kinds
        assert self.rows <= rows
        assert self.buffers <= buffers


@asynccontextmanager
async def rolled_back(connection: Connection) -> AsyncIterator[None]:
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def _removed(node: dict[str, Any]) -> float:
    return float(sum(count for name, count in node.items() if name.startswith("Rows Removed by")))


def _parent(index: str) -> str:
    """The name of a day's index as its day, or month, names it, without that."""
    return re.sub(r"_\d{6}(\d\d)?(?=_)", "", index)


async def read(connection: Connection, query: str, arguments: Sequence[object], mode: str) -> Read:
    """Run it as a prepared statement in a transaction that is rolled back, and say what it read."""
    name = f"plan_{uuid4().hex[:8]}"
    types = [kind.name for kind in (await connection.prepare(query)).get_parameters()]
    await connection.execute(f"SET plan_cache_mode = {mode}")
    await connection.execute(f"PREPARE {name} ({', '.join(types)}) AS {query}")
    given = ", ".join(_literal(argument) for argument in arguments)
    async with rolled_back(connection):
        found = await connection.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE {name} ({given})"
        )
    await connection.execute(f"DEALLOCATE {name}")
    return Read(orjson.loads(found)[0]["Plan"])


def _literal(value: object) -> str:
    match value:
        case None:
            return "NULL"
        case list():
            return "'{" + ", ".join("NULL" if each is None else f'"{each}"' for each in value) + "}'"
        case timedelta():
            return f"'{value.total_seconds()} s'"
        case _:
            return f"'{value}'"
