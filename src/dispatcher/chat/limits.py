"""What ids, names and texts of chat look like, and how long they may be."""

USER_ID = r"^[A-Za-z0-9_.:@+-]{1,64}$"
"""What a user's id looks like."""
NAME_LENGTH = 100
"""Characters of a user's or a group's name."""
CONTENT_LENGTH = 4096
"""Characters of a chat message."""
CLIENT_ID_LENGTH = 64
"""Characters of a client's own id of a chat message."""
MAX_MEMBERS = 1024
"""Members of a group."""
