"""The supervisor: a small detached process that owns llama-server, and the client that talks to it."""
