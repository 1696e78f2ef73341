"""Ways to deliver a message: the contract (envelope in, outcome out) and one file per channel."""
