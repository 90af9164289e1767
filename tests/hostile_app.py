"""The screen full of foreign text in a real terminal: `python -m tests.hostile_app FOLDER`."""

import sys
from pathlib import Path

from tests.screen_rig import StillApp
from tests.test_hostile_screens import EVIL, in_chat, in_notices, in_stages

NEXT_S = 0.5


class HostileApp(StillApp):
    """Shows it in one place after the other, then says so."""

    def on_ready(self) -> None:
        """Begin when all is there."""
        if not self.chat.is_complete:
            self.set_timer(NEXT_S, self.on_ready)
            return
        for number, place in enumerate((in_chat, in_notices, in_stages), 1):
            self.set_timer(number * NEXT_S, lambda place=place: place(self, EVIL))
        self.set_timer(5 * NEXT_S, lambda: self.notify("all is shown"))


if __name__ == "__main__":
    HostileApp(Path(sys.argv[1])).run()
