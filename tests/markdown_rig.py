"""Markdown that is whole, as the blocks that the screen shows."""

from r1tui.chat.markdown import MarkdownBlock, MarkdownSplitter


def split_markdown(text: str) -> list[MarkdownBlock]:
    """All blocks of a text that is whole."""
    splitter = MarkdownSplitter()
    splitter.feed(text)
    splitter.close()
    found: list[MarkdownBlock] = []
    while blocks := splitter.step():
        found += blocks
    return found
