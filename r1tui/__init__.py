"""r1tui: DeepSeek-R1 on your own GPU box, from the compiler to the chat."""

import logging

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())  # where nobody reads a log, stderr is for users
