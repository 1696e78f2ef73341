"""People who talk to each other: users, groups, conversations, chat messages, how far each member has read."""
