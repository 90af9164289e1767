"""The keys that scroll the conversation while it has the focus."""

from textual.binding import Binding

SCROLLING = (
    Binding("up,k", "line_up", "Line up", show=False, id="transcript.line_up"),
    Binding("down,j", "line_down", "Line down", show=False, id="transcript.line_down"),
    Binding("ctrl+up,u", "half_page_up", "Half a page up", show=False, id="transcript.half_up"),
    Binding("ctrl+down,d", "half_page_down", "Half a page down", show=False, id="transcript.half_down"),
    Binding("pageup,b", "page_up", "Page up", show=False, id="transcript.page_up"),
    Binding("pagedown,space", "page_down", "Page down", show=False, id="transcript.page_down"),
    Binding("home,g", "to_start", "To the start", show=False, id="transcript.start"),
    Binding("end,G", "to_end", "To the end", show=False, id="transcript.end"),
)
"""The letters are less's and vim's; all others go into the prompt."""
