"""r1tui: DeepSeek-R1 on your own GPU box, from the compiler to the chat."""

__version__ = "0.1.0"
