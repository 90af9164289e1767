"""What the hub has: its answers, its refusals, and what of them is remembered."""
