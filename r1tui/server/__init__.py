"""llama-server: its arguments and environment, its HTTP API, and what its log says about a failure."""
