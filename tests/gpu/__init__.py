"""What a real card does with r1tui's plans: `make gpu`, or `python -m tests.gpu`. See README.md."""
