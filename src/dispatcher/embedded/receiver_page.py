"""The sample receiver's page: what arrived, newest first. Everything on it is inline and escaped."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

ROWS = 200
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One POST that reached the sample receiver."""

    at: datetime
    to: str
    content: str
    webhook_id: str
    correlation_id: str
    gap_seconds: float | None
    """Time since the arrival before it; None for the first."""


def page(arrivals: Sequence[Arrival], total: int) -> str:
    """The page for `arrivals`, which come newest first; `total` counts what is no longer kept, too."""
    seen = Counter(arrival.webhook_id for arrival in arrivals)
    rows = "".join(_row(arrival, seen[arrival.webhook_id]) for arrival in arrivals[:ROWS])
    return _PAGE.format(
        total=total, rows=rows or '<tr><td colspan="5">Nothing yet. It updates itself.</td></tr>'
    )


def _row(arrival: Arrival, times: int) -> str:
    gap = "" if arrival.gap_seconds is None else f"+{arrival.gap_seconds:.3f} s"
    again = f" <b>({times} times)</b>" if times > 1 else ""
    return (
        f"<tr><td>{arrival.at:%H:%M:%S}.{arrival.at.microsecond // 1_000:03}</td><td>{gap}</td>"
        f"<td>{escape(arrival.to)}</td><td>{escape(arrival.content)}</td>"
        f"<td>{escape(arrival.webhook_id)}{again}</td></tr>"
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sample receiver</title>
<noscript><meta http-equiv="refresh" content="2"></noscript>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); padding: .4rem .6rem;
  text-align: left; vertical-align: top; overflow-wrap: anywhere; }}
td:nth-child(-n+2) {{ font-variant-numeric: tabular-nums; white-space: nowrap; }}
p {{ opacity: .75; }}
</style>
</head>
<body>
<h1>Sample receiver</h1>
<p>It plays the webhook in the sandbox: it answers 202 with a messageId and keeps the last 1,000.
The same as JSON: <a href="/received">/received</a>. Times are UTC.</p>
<main>
<p>{total} received</p>
<table>
<thead><tr><th>time</th><th>after the one before</th><th>to</th><th>content</th><th>webhook-id</th></tr></thead>
<tbody>{rows}</tbody>
</table>
</main>
<script>
async function refresh() {{
  try {{
    const text = await (await fetch("/")).text();
    const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("main");
    const shown = document.querySelector("main");
    if (fresh.innerHTML !== shown.innerHTML) shown.replaceWith(fresh);
  }} catch (error) {{ /* the receiver stopped; it may come back */ }}
  setTimeout(refresh, 1000);
}}
setTimeout(refresh, 1000);
</script>
</body>
</html>
"""
