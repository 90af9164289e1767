"""Model files: what the hub has, fetching it, and what is on this machine."""
