"""Copy in: the fastest way to put many messages in, all at once, for whoever needs no ids."""

from collections.abc import AsyncIterator, Sequence

from dispatcher.kernel.db import Pool

_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


async def copy_in(pool: Pool, recipients: Sequence[str], contents: Sequence[str]) -> None:
    """Put these messages in by COPY, in this order, all or none; for the webhook lane and due at once."""

    async def source() -> AsyncIterator[bytes]:
        yield copy_text(recipients, contents).encode()

    async with pool.acquire() as connection:
        await connection.copy_to_table("messages", source=source(), columns=("recipient_phone", "content"))


def copy_text(recipients: Sequence[str], contents: Sequence[str]) -> str:
    """These columns in COPY's text format: made as a whole, which is a fifth of the cost of encoding each row."""
    text = "\n".join(map("\t".join, zip(recipients, contents, strict=True)))
    rows = len(recipients)
    if "\\" in text or "\r" in text or text.count("\t") != rows or text.count("\n") != rows - 1:
        recipients = [recipient.translate(_ESCAPED) for recipient in recipients]
        contents = [content.translate(_ESCAPED) for content in contents]
        text = "\n".join(map("\t".join, zip(recipients, contents, strict=True)))
    return f"{text}\n"
