"""Conversations: what is said, and what is sent to the model of it."""
