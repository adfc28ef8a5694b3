"""`python -m agentcontainer_local`: the same as the `agentcontainer` command."""

from agentcontainer_local.cli import app

if __name__ == "__main__":
    app(prog_name="agentcontainer")
