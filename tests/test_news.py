"""What the screen says of a server that is in another state than before."""

import pytest

from r1tui.messages import Status
from r1tui.tui.controllers.models import server_notice


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ("ready", Status(state="failed", cause="It ended."), "It ended. <chat.start> starts it again."),
        ("ready", Status(state="restarting", cause="It ended.", remedy="Soon."), "It ended. Soon."),
        ("ready", Status(state="ready", supervisor_pid=1, cause="It hangs.", remedy="Ctrl+R."), "It hangs. Ctrl+R."),
        ("sleeping", Status(state="ready"), "The model is reloaded."),
        ("loading", Status(state="ready"), None),
        (None, Status(state="failed", cause="Yesterday."), None),
    ],
)
def test_what_the_screen_says_of_a_change(before: str | None, now: Status, said: str | None) -> None:
    notice = server_notice(Status(state=before) if before else None, now)  # type: ignore[arg-type]
    assert (notice.text if notice else None) == said
