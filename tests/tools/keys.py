"""The README's table of keys, made from the table of commands: `python -m tests.tools.keys` writes it."""

from itertools import groupby
from pathlib import Path

from r1tui.tui.commands import COMMANDS
from r1tui.tui.keymap import key_of, keys_of
from r1tui.tui.remedies import NAMED

README = Path(__file__).parent.parent.parent / "README.md"
BEGIN, END = "<!-- keys: made by python -m tests.tools.keys -->\n", "<!-- end of keys -->\n"


def table() -> str:
    """All commands that have keys, in Markdown; a row of alike ones is one line."""
    lines = ["| key | does | id |", "|---|---|---|"]
    commands = [command for command in COMMANDS.values() if command.keys]
    for heading, group in groupby(commands, lambda one: one.heading):
        lines.append(f"| **{heading}** | | |")
        for _, row in groupby(group, lambda one: one.help if one.is_numbered else one.id):
            first, *others = row
            keys, name = keys_of(first, {}), f"`{first.id}`"
            if others:
                keys, name = f"{keys} … {keys_of(others[-1], {})}", f"{name} …"
            said = NAMED.sub(lambda found: key_of(found[1], {}) or found[0], first.help)
            lines.append(f"| {keys} | {said} | {name} |")
    return "\n".join(lines) + "\n"


def made(text: str) -> str:
    """The README's text with the table as it is to be."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}{table()}{end}{after}"


if __name__ == "__main__":
    README.write_text(made(README.read_text()))
