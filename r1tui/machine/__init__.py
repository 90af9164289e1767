"""This machine: what it is, what it is doing, how fast it is read."""
