"""Purges what was deleted long ago, by a calendar of r1tui's own that a wrong clock cannot turn far."""

import sqlite3
from time import time

KEPT_DELETED_S = 30 * 86400.0
"""How long a deleted conversation can be brought back."""
MOST_PASSED_S = 7 * 86400.0
"""At most so much time passes between two starts, whatever the clock says."""
_SELDOM_S = 3600.0


def purge(connection: sqlite3.Connection) -> list[str]:
    """Delete for good what was deleted long ago, in a transaction of the caller's; the ids of what is gone."""
    now_s, own_s = time(), _advance_calendar(connection, time())
    connection.execute(
        "UPDATE conversations SET deleted_own_s = ? WHERE deleted_s IS NOT NULL AND deleted_own_s IS NULL", (own_s,)
    )
    empty = "NOT EXISTS (SELECT 1 FROM exchanges WHERE conversation = conversations.key) AND opened_s < ?"
    old = f"FROM conversations WHERE (deleted_s IS NOT NULL AND deleted_own_s < ?) OR ({empty})"
    before = (own_s - KEPT_DELETED_S, now_s - KEPT_DELETED_S)
    gone = [id_ for (id_,) in connection.execute(f"SELECT id {old}", before)]
    connection.execute(f"DELETE {old}", before)
    return gone


def _advance_calendar(connection: sqlite3.Connection, now_s: float) -> float:
    """Advance the calendar to now and return its time; a clock that was set back stops it for once."""
    wall_s, own_s = connection.execute("SELECT wall_s, own_s FROM calendar").fetchone()
    passed_s = min(max(now_s - wall_s, 0.0), MOST_PASSED_S) if wall_s else 0.0
    if wall_s and abs(now_s - wall_s) < _SELDOM_S:  # a start that only reads writes nothing
        return float(own_s + passed_s)
    connection.execute("UPDATE calendar SET wall_s = ?, own_s = ?", (now_s, own_s + passed_s))
    return float(own_s + passed_s)
