"""Flags for what a task is given and may take, of `run`, `chat` and `agents`."""

from typing import Annotated, Any

import typer

from agentcontainer_local.providers import IN_WORDS

ModelFlag = Annotated[
    str | None, typer.Option("--model", "-m", metavar="ID", help="Id of the model; `scripted` needs no key.")
]
ProviderFlag = Annotated[str | None, typer.Option("--provider", metavar="NAME", help=f"Model provider: {IN_WORDS}.")]
InternetFlag = Annotated[
    bool | None,
    typer.Option("--internet/--no-internet", help="Allow or close internet access."),
]
HostsFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host", metavar="HOST", help="Host that the agent may reach without internet access. Repeatable."
    ),
]
RuntimeFlag = Annotated[
    int | None, typer.Option("--max-runtime", metavar="SECONDS", help="Maximum run time, in seconds.")
]
CostFlag = Annotated[
    float | None, typer.Option("--max-cost", metavar="USD", help="Maximum cost of model calls, in US dollars.")
]
TokensFlag = Annotated[
    int | None, typer.Option("--max-tokens", metavar="COUNT", help="Maximum tokens of model calls, in and out.")
]


def settings(
    model: str | None,
    provider: str | None,
    internet: bool | None = None,
    hosts: list[str] | None = None,
    max_runtime: int | None = None,
    max_cost: float | None = None,
    max_tokens: int | None = None,
    expect: str | None = None,
) -> dict[str, Any]:
    """By their names on the wire: a task's overrides, or an agent's defaults. What no flag says is left out."""
    outputs = [name.strip() for name in (expect or "").split(",") if name.strip()]
    policy = {"mode": "named", "files": [{"name": name} for name in outputs]} if outputs else None
    given = {
        "model": model,
        "provider": provider,
        "internetAccess": internet,
        "allowedHosts": hosts or None,
        "maxRuntimeSeconds": max_runtime,
        "maxCostUsd": max_cost,
        "maxTokens": max_tokens,
        "outputPolicy": policy,
    }
    return {name: value for name, value in given.items() if value is not None}
