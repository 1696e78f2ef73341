"""ECS lines: the same fields as ecs_logging writes, for anything that is logged."""

import json
from datetime import UTC, datetime

import orjson
import pytest
from ecs_logging import StructlogFormatter
from structlog.typing import EventDict

from dispatcher.kernel.ecs import EcsLines

LINES = EcsLines(service="s", version="1", replica="r")
SERVICE = {"service.name": "s", "service.version": "1", "service.node.name": "r"}


@pytest.mark.parametrize(
    ("event", "named"),
    [
        (
            {"method": "GET", "path": "/ü", "status": 200, "duration_ms": 1.5, "correlation_id": "c"},
            {
                "http.request.method": "GET",
                "url.path": "/ü",
                "http.response.status_code": 200,
                "event.duration": 1_500_000,
                "trace.id": "c",
            },
        ),
        (
            {"error": "no", "exception": "Traceback", "message_id": 1, "a.b": [1, None]},
            {
                "error.message": "no",
                "error.stack_trace": "Traceback",
                "dispatcher.message_id": 1,
                "a.b": [1, None],
            },
        ),
        ({"x": 1, "y": {"z": 2}}, {"dispatcher.x": 1, "dispatcher.y": {"z": 2}}),
    ],
)
def test_the_fields_are_those_of_ecs_logging(event: EventDict, named: EventDict) -> None:
    line = orjson.loads(LINES(None, "info", {"event": "it_happened", "level": "info", **event}))
    theirs = orjson.loads(
        StructlogFormatter()(None, "info", {"event": "it_happened", "log.level": "info", **SERVICE, **named})
    )
    theirs.pop("@timestamp")
    at = datetime.fromisoformat(line.pop("@timestamp"))
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60  # noqa: TID251 - its own clock would prove nothing
    assert line == theirs


@pytest.mark.parametrize("value", ["half a pair: \ud800", 2**70, object()])
def test_what_is_no_json_is_logged_all_the_same(value: object) -> None:
    line = LINES(None, "warning", {"event": "odd", "level": "warning", "error": value, "duration_ms": 2})
    fields = json.loads(line)
    assert fields["message"] == "odd"
    assert fields["service"]["node"]["name"] == "r"
    assert fields["event"]["duration"] == 2_000_000
    assert fields["error"]["message"] in (value, repr(value))
