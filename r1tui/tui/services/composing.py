"""What the prompt needs of the disk and of other programs, imported together after the first screen."""

from r1tui.chat.prompt_files import Drafts, PromptHistory
from r1tui.tui.services.attached import Scales, in_words, too_heavy
from r1tui.tui.services.editor import edited
from r1tui.tui.services.prompt_saver import DraftSaver, HistorySaver


class Composing:
    """It by its names."""

    drafts = Drafts
    history = PromptHistory
    scales = Scales
    draft_saver = DraftSaver
    history_saver = HistorySaver
    in_words = staticmethod(in_words)
    too_heavy = staticmethod(too_heavy)
    edited = staticmethod(edited)
