"""`agentcontainer config`: what is set, by what."""

import os

from agentcontainer_local.cli.help import App
from agentcontainer_local.cli.session import JsonFlag, ending

SECRETS = ("AGENTCONTAINER_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENROUTER_API_KEY")
PROVIDERS = ("ANTHROPIC", "OPENAI", "OPENROUTER")
OTHERS = (
    "AGENTCONTAINER_URL",
    "AGENTCONTAINER_USER",
    *(
        f"AGENTCONTAINER_{provider}_{name}"
        for provider in PROVIDERS
        for name in ("BASE_URL", "API", "CONTEXT_WINDOW", "MAX_OUTPUT", "IMAGES", "FREE")
    ),
)


def add_to(app: App) -> None:
    app.command("config", example="config")(config)


def config(json: JsonFlag = False) -> None:
    """Show every setting and where it comes from. Secrets are never shown."""
    from agentcontainer_local.cli.serve import settings_of
    from agentcontainer_local.process import service_account
    from agentcontainer_local.process.text import without_password
    from agentcontainer_local.settings import Settings, variable

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
        rows = [(one["name"], one["setBy"], one["value"] or "") for one in found]
        out.table(("setting", "set by", "value~"), rows, found)
