"""From a variant to a running server, as a sequence of stage events."""
