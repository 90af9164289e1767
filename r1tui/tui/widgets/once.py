"""Calls a widget's function once, later, and surely."""

import asyncio
from collections.abc import Callable
from functools import partial

from textual.message_pump import MessagePump


def call_after(pump: MessagePump, delay_s: float, function: Callable[[], object]) -> asyncio.TimerHandle:
    """Have the pump call it when so much time has passed.

    Textual's `set_timer` forgets a call whose time is over before its task looks at the clock for the first time: a
    short one always, any on a busy machine now and then.
    """
    return asyncio.get_running_loop().call_later(max(delay_s, 0.0), partial(pump.call_next, function))
