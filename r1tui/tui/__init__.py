"""The screen: renders the core's models and posts messages; all work is in the core."""
