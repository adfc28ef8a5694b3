"""Learns a model's context window from a provider's "prompt too long" error."""

from collections.abc import Mapping

from agentcontainer_local.store import model_settings
from agentcontainer_local.store.db import Database
from agentcontainer_local.store.tasks.rows import get

BYTES_A_TOKEN = 4  # approximately
NEARLY = 0.95  # a window of at least this share of the known one is treated as the same


def learn_window(
    db: Database, task_id: str, environ: Mapping[str, str], model: str, window: int | None, size: int
) -> bool:
    """Stores the context window. `window`: tokens, if the error named it; else it is estimated from `size`, the
    request's length in bytes. Returns whether Pi has to be restarted because it assumes a larger window. If not, Pi can
    shorten its history by itself."""
    with db.atomic():
        task = get(db, task_id)
        settings = model_settings.find(db, task["account_id"], task["provider"], model, environ)
        known = task["learned_window"] or settings.context_window or model_settings.UNSAID_WINDOW
        guessed = max(model_settings.GUESSED_WINDOW, size // BYTES_A_TOKEN * 3 // 4)
        found = max(model_settings.MIN_WINDOW_TOKENS, window or guessed)
        if found >= known * NEARLY:
            return False
        model_settings.learn(db, task["account_id"], task["provider"], model, found)
        db.conn.execute("UPDATE tasks SET learned_window = ? WHERE id = ?", (found, task_id))
        db.touched(task_id)
        return True
