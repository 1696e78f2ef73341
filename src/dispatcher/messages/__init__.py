"""The messages table: its states, and one file for each thing that is done to it."""
