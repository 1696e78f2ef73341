"""How long what is in a message may be."""

WEBHOOK_CONTENT_LENGTH = 160
"""Characters of content that the webhook lane takes: one text message."""
CONTENT_LENGTH = 4096
"""Characters of content that any lane takes."""
RECIPIENT_LENGTH = 320
"""Characters of a recipient; the longest e-mail address has as many."""


def content_length(lane: str) -> int:
    """Characters of content that this lane takes; the table holds everybody to it."""
    return WEBHOOK_CONTENT_LENGTH if lane == "webhook" else CONTENT_LENGTH
