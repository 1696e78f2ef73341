"""Real time: sockets, what goes over them, and how a message finds them on whichever replica they are."""
