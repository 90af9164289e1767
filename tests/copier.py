"""A program that copies its argument, as r1tui does, and ends: for terminals that look at what they get.

python tests/copier.py TEXT
"""

import sys

from r1tui.tui.terminal import CopyingApp


class Copier(CopyingApp):
    """It is done when what it copied is written."""

    async def on_ready(self) -> None:
        self.copy_to_clipboard(sys.argv[1])
        self.run_worker(self.leave())

    async def leave(self) -> None:
        """End when the copying has."""
        await self.workers.wait_for_complete([worker for worker in self.workers if worker.group == "copy"])
        self.exit()


if __name__ == "__main__":
    Copier().run(mouse=False)
