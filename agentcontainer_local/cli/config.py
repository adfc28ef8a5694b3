"""`agentcontainer config`: what is set, by what."""

import os

from agentcontainer_local import environment
from agentcontainer_local.cli.help import App
from agentcontainer_local.cli.session import JsonFlag, ending
from agentcontainer_local.environment import variable
from agentcontainer_local.providers import NAMES, PROVIDERS, SETTINGS

SECRETS = (environment.API_KEY, *(PROVIDERS[name].key_variable for name in NAMES))
OTHERS = (
    environment.URL,
    environment.USER,
    *(PROVIDERS[name].variable(setting) for name in NAMES for setting in SETTINGS),
)


def add_to(app: App) -> None:
    app.command("config", example="config")(config)


def config(json: JsonFlag = False) -> None:
    """Show every setting and where it comes from. Secrets are never shown."""
    from agentcontainer_local.cli.serve import settings_of
    from agentcontainer_local.process import service_account
    from agentcontainer_local.process.text import without_password
    from agentcontainer_local.settings import Settings

    with ending(json) as out:
        effective = settings_of()
        found = []
        for name in Settings.model_fields:
            value, source = getattr(effective, name), "default"
            if os.environ.get(variable(name)):
                source = variable(name)
            elif name == "data":
                value = service_account.data_directory()
            shown = None if value is None else without_password(str(value))
            found.append({"name": name.replace("_", "-"), "value": shown, "setBy": source})
        for name in (*OTHERS, *SECRETS):
            if os.environ.get(name):
                shown = "(secret)" if name in SECRETS else without_password(os.environ[name])
                found.append({"name": name, "value": shown, "setBy": "environment"})
        rows = [(one["name"] or "", one["setBy"] or "", one["value"] or "") for one in found]
        out.table(("setting", "set by", "value~"), rows, found)
