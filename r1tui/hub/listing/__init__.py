"""The hub: its lists of files, its refusals, and the lists that are remembered."""
