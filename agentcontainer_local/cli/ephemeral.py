"""`agentcontainer serve --ephemeral`: a server for tests, of which nothing is left when it ends."""

import json
import signal
import threading
from collections.abc import Mapping

from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.process import parent
from agentcontainer_local.settings import Settings

CHOSEN = ("data", "port", "host")  # by the server for tests itself


def check(flags: Mapping[str, object]) -> None:
    """Raises Stop for flags that do not go with --ephemeral."""
    if wrong := [name for name in CHOSEN if flags.get(name) is not None]:
        raise Stop(Exit.WRONG_USE, f"--{wrong[0]} can't be used with --ephemeral, which chooses it. Leave it out.")


def serve(settings: Settings, seed: str | None) -> None:
    """Until SIGTERM or SIGINT, or the end of the process that started it.

    Prints one line of JSON when it is ready: `{"url": …, "key": …}`.
    """
    from agentcontainer_local import testing

    given = {name: getattr(settings, name) for name in settings.model_fields_set if name not in CHOSEN}

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    threading.Thread(target=_when_orphaned, args=(ended,), daemon=True).start()
    try:
        with testing.server(**{"backend": "simulated", **given}, seed=seed) as server:
            print(json.dumps({"url": server.url, "key": server.key}), flush=True)
            ended.wait()
    except RuntimeError as error:
        raise Stop(Exit.FAILED, str(error)) from None
    except ValueError as error:
        raise Stop(Exit.WRONG_USE, str(error)) from None


def _when_orphaned(ended: threading.Event) -> None:
    parent.wait_for_end()
    ended.set()
