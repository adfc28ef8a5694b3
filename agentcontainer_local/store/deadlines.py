"""The next date at which a row becomes due, for a clock that moves from one such date to the next."""

from datetime import datetime, timedelta

from agentcontainer_local.lifecycle import FAILED, FINISHED
from agentcontainer_local.store.clock_steps import steady_date
from agentcontainer_local.store.context import Context
from agentcontainer_local.store.db import Database, iso, parse_iso, single
from agentcontainer_local.store.files import uploads
from agentcontainer_local.store.tasks import retention

JUST_AFTER = timedelta(milliseconds=1)  # for rows that are due only after their date

# The parameter is a date; earlier rows are skipped.
DATES = (
    "SELECT min(hibernate_until) AS at FROM tasks WHERE status = 'hibernating' AND hibernate_until > ?",
    "SELECT min(expires_at) AS at FROM tasks WHERE status = 'awaiting_input' AND expires_at > ?",
    "SELECT min(expires_at) AS at FROM api_keys WHERE revoked_at IS NULL AND expires_at > ?",
    "SELECT min(expires_at) AS at FROM uploads WHERE file_id IS NULL AND expires_at > ?",
)
# The first parameter is whether the task failed.
WORKSPACES = (
    "SELECT min(ended_on) AS at FROM tasks WHERE workspace_removed_at IS NULL AND (status = 'failed') = ?"
    " AND ended_on > ?"
)
HISTORIES = "SELECT min(ended_on) AS at FROM tasks WHERE swept_at IS NULL AND ended_on > ?"


def upcoming(context: Context) -> datetime | None:
    """The first date after now at which `engine.timers` has something to do or a key expires; None if there is none."""
    db, now = context.db, context.now()
    found = [_first(db, sql, timedelta(), now) for sql in DATES]
    found.append(_first(db, DATES[-1], uploads.GRACE + JUST_AFTER, now))
    ahead = now - steady_date(db, now)
    for status in (FINISHED, FAILED):
        kept = timedelta(seconds=retention.kept_seconds(context.settings, status))
        found.append(_first(db, WORKSPACES, kept + ahead, now, status == FAILED))
    if days := context.settings.retention_days:
        found.append(_first(db, HISTORIES, timedelta(days=days) + ahead + JUST_AFTER, now))
    return min((at for at in found if at is not None), default=None)


def _first(db: Database, sql: str, later: timedelta, now: datetime, *values: object) -> datetime | None:
    """The first date that is still to come when `later` is added. Returns the sum."""
    at = single(db, sql, (*values, iso(now - later)))["at"]
    return None if at is None else parse_iso(at) + later
