"""A question that was sent while its model comes up, and waits for it."""

from r1tui.chat.conversation import Exchange
from r1tui.events import Progress, StageEvent
from r1tui.text import percent
from r1tui.tui.controllers.view import Question, View

ABOUT_WAITING = "waiting question"
"""A topic of notices."""


class WaitingQuestion:
    """Owner of the question that waits; true while there is one. Until it is asked, the prompt's draft keeps it too."""

    def __init__(self, view: View) -> None:
        self.model = ""
        """The model that it waits for; another that the user chooses meanwhile is as good."""
        self._view = view
        self._question: Question | None = None
        self._exchange = Exchange("")
        """Its exchange on the screen."""

    def __bool__(self) -> bool:
        return self._question is not None

    def put(self, question: Question) -> None:
        """Have this wait for the model that comes up, and show it as the last of the conversation."""
        self._question, self._exchange = question, Exchange(question.text)
        self.model = self._view.coming_model or ""
        self._say("is not ready yet")
        self._view.show_waiting(self._exchange)

    def take(self) -> Question | None:
        """The question, which waits no more; it is shown until it is asked or given back."""
        question, self._question = self._question, None
        self._view.end_notice(ABOUT_WAITING)
        return question

    def take_stage(self, event: StageEvent) -> None:
        """Show how far its model is, in its place."""
        match event:
            case Progress("server", done, int(total)) if total:
                self._say(f"is loading, {percent(min(done / total, 0.99))}")
            case _ if event.stage == "server":
                self._say("is not ready yet")

    def _say(self, state: str) -> None:
        self._exchange.answer.waits_for = f"{self._view.coming_model or self.model or 'the model'} {state}"
