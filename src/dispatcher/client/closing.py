"""What the end of a connection means: connect again, or not.

The service says it by the first digits of its close codes, 3000-3499: again; 3500-3999: not before something has
changed. WebSocket's own codes are of servers and networks that went away: again, but for those that call this client wrong.
"""

from typing import Final

FIRST_FINAL: Final = 3500
EXPIRED: Final = 3003
BAD_TOKEN: Final = 3500
_OF_THE_SERVICE: Final = range(3000, 5000)
_WRONG: Final = {1002, 1003, 1007, 1008, 1009, 1010}
"""Protocol error, unsupported, not UTF-8, policy, too big, extension."""
_NOT_NOW: Final = {408, 425, 429}
_SERVER_ERROR: Final = 500


def may_connect_again(code: int) -> bool:
    """Whether a client that was closed with this code may connect as it is."""
    if code in _OF_THE_SERVICE:
        return code < FIRST_FINAL
    return code not in _WRONG


def may_ask_again(status: int) -> bool:
    """Whether what was answered with this HTTP status may be answered otherwise later."""
    return status >= _SERVER_ERROR or status in _NOT_NOW
