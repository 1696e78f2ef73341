"""NDJSON: one object with recipient_phone and content a line."""

from collections.abc import Iterator
from itertools import chain, islice
from operator import itemgetter
from typing import Any

import orjson

from dispatcher.cli.rows import BATCH, COLUMNS, Bad, Batch, all_good


def ndjson_batches(number: int, first: str, lines: Iterator[str]) -> Iterator[Batch]:
    """Every line from the first one on, which has this number."""
    lines = chain([first], lines)
    while given := list(islice(lines, BATCH)):
        yield _all_of(given, number) or _one_by_one(given, number)
        number += len(given)


def _all_of(lines: list[str], number: int) -> Batch | None:
    """The batch, when every line is a good message."""
    try:
        found: list[Any] = list(map(orjson.loads, lines))
        recipients, contents = (
            list(map(itemgetter(COLUMNS[0]), found)),
            list(map(itemgetter(COLUMNS[1]), found)),
        )
    except (ValueError, TypeError, KeyError):
        return None
    if set(map(len, found)) != {len(COLUMNS)} or set(map(type, chain(recipients, contents))) != {str}:
        return None
    return (
        Batch(recipients, contents, number, number + len(lines) - 1)
        if all_good(recipients, contents)
        else None
    )


def _one_by_one(lines: list[str], number: int) -> Batch:
    batch = Batch()
    for line, text in enumerate(lines, number):
        if text.strip():
            _add(batch, line, text)
    return batch


def _add(batch: Batch, line: int, text: str) -> None:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        batch.bad.append(Bad(line, f"is not JSON: {error}"))
        return
    reason = _other_than_a_message(found)
    if reason is None:
        batch.add(line, found["recipient_phone"], found["content"])
    else:
        batch.bad.append(Bad(line, reason))


def _other_than_a_message(found: object) -> str | None:
    if not isinstance(found, dict):
        return f"is not an object with {' and '.join(COLUMNS)}"
    missing = [name for name in COLUMNS if name not in found]
    if missing:
        return f"has no {' and no '.join(missing)}"
    unknown = sorted(found.keys() - set(COLUMNS))
    if unknown:
        return f"has more than {' and '.join(COLUMNS)}: {', '.join(unknown)}"
    for name in COLUMNS:
        if not isinstance(found[name], str):
            return f'{name} is not a text; write "{name}": "…"'
    return None
