"""Text of others, made harmless: what ends a line, moves a cursor or reorders text on a terminal is shown escaped."""

import re
from functools import cache

# C0, DEL and C1 (a lone U+009B begins a terminal's command as ESC [ does), what ends a line for anybody, surrogates, and
# every format character: they reorder, hide or tag. Left are the two joiners, without which names in Persian and half
# of the emoji fall apart.
ACTING = (
    "\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\ud800-\udfff\ufeff\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
"""The characters that act, as the inside of a regular expression's class."""
_ACTS = re.compile(f"[{ACTING}]")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_BEYOND_16_BITS = 0x10000


def harmless(text: str) -> str:
    """The text in one line in which nothing acts; what does is an escape, as in Python and JSON."""
    if text.isprintable():  # by far the most, and much quicker to see than to search
        return text
    return _ACTS.sub(lambda found: escape(found[0]), text)


@cache
def escape(character: str) -> str:
    """The escape of one character."""
    code = ord(character)
    return _SHORT.get(character) or (f"\\u{code:04x}" if code < _BEYOND_16_BITS else f"\\U{code:08x}")
