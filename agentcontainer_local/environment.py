"""Names of our environment variables. Each setting has one too (`variable`), and each provider (`providers.py`)."""

PREFIX = "AGENTCONTAINER_"


def variable(name: str) -> str:
    """`max_running` → `AGENTCONTAINER_MAX_RUNNING`."""
    return PREFIX + name.upper()


API_KEY = variable("api_key")  # of the client; of a new data directory, its first one
URL = variable("url")  # of the server that a client asks
DATA = variable("data")  # the data directory
USER = variable("user")  # the service account
PROGRAM = variable("program")  # the one executable file, told to what it has unpacked
CRASH_AT = variable("crash_at")  # tests name a failpoint here
