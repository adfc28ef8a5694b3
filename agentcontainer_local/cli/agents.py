"""`agentcontainer agents`: workers with a prompt, a model and a container."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from agentcontainer_local.cli.containers import About, Name, given
from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.run import CostFlag, HostsFlag, TokensFlag
from agentcontainer_local.cli.session import Session, command

app = typer.Typer(no_args_is_help=True, help="Agents: workers with a prompt, a model and a container.")
Id = Annotated[str, typer.Argument(metavar="AGENT", help="The agent's id.")]
Prompt = Annotated[str | None, typer.Option(metavar="TEXT", help="Its base prompt; @FILE reads it from a file.")]
Model = Annotated[str | None, typer.Option("--model", "-m", metavar="ID", help="A model's id.")]
Provider = Annotated[str | None, typer.Option(metavar="NAME", help="anthropic, openai or openrouter.")]
Container = Annotated[str | None, typer.Option(metavar="ID", help="The id of the container it runs in.")]
Image = Annotated[str | None, typer.Option(metavar="IMAGE", help="Or an image that it runs in.")]
Internet = Annotated[bool | None, typer.Option("--internet/--no-internet", help="Whether it has the internet.")]
MaxRuntime = Annotated[int | None, typer.Option(metavar="SECONDS", help="That a task of it may take.")]
Whole = Annotated[Path | None, typer.Option(
    "--file", "-f", metavar="FILE", help="The request's JSON, as the API has it; `-` is stdin. Flags go before it.")]


def _fields(
    name: str | None, prompt: str | None, model: str | None, provider: str | None, container: str | None,
    image: str | None, internet: bool | None, hosts: list[str] | None, max_runtime: int | None, max_cost: float | None,
    max_tokens: int | None, description: str | None, file: Path | None,
) -> dict[str, Any]:
    """The request's body: a file's, with what the flags say in its place."""
    body = _json(file) if file else {}
    prompt = Path(prompt[1:]).read_text() if prompt and prompt.startswith("@") else prompt
    runtime = {"containerImage": image, "agentRuntime": "pi"} if image else None
    defaults = given(
        model=model, provider=provider, internetAccess=internet, allowedHosts=hosts or None,
        maxRuntimeSeconds=max_runtime, maxCostUsd=max_cost, maxTokens=max_tokens,
    )
    said = given(name=name, basePrompt=prompt, containerId=container, runtime=runtime, description=description)
    before = body.get("defaults") or {}
    if not isinstance(before, dict):
        raise Stop(Exit.WRONG_USE, f"{file}: defaults is not a JSON object.")
    both = {**before, **defaults}
    return {**body, **said, **({"defaults": both} if both else {})}


def _json(file: Path) -> dict[str, Any]:
    try:
        body = json.loads(sys.stdin.read() if str(file) == "-" else file.read_text())
    except ValueError as error:
        raise Stop(Exit.WRONG_USE, f"{file} is not JSON: {error}.") from None
    if not isinstance(body, dict):
        raise Stop(Exit.WRONG_USE, f"{file} is not a JSON object.")
    return body


def _shown(session: Session, agent) -> None:
    from agentcontainer_local.cli.output import usd

    version, defaults = agent.current_version, agent.current_version.defaults
    limits = defaults.limits.model_dump(by_alias=True, exclude_none=True)
    session.out.facts({
        "id": agent.id, "name": agent.name, "description": agent.description,
        "model": f"{defaults.model} ({defaults.provider or 'the provider of the account'})",
        "weak model": defaults.weak_model,
        "own key": "yes" if defaults.has_provider_api_key else None,
        "internet": "yes" if defaults.internet_access else "no", "hosts": ", ".join(defaults.allowed_hosts) or None,
        "max runtime": f"{defaults.max_runtime_seconds} s",
        "wraps up after": f"{defaults.soft_finish_after_seconds} s" if defaults.soft_finish_after_seconds else None,
        "max cost": usd(defaults.max_cost_usd) if defaults.max_cost_usd else None,
        "max tokens": str(defaults.max_tokens) if defaults.max_tokens else None,
        "limits": ", ".join(f"{name} {value}" for name, value in limits.items()) or None,
        "isolation": defaults.isolation, "skills": ", ".join(skill.skill for skill in version.skills) or None,
        "outputs": defaults.output_policy.mode, "image": agent.runtime.container_image,
        "container": version.container_version_id, "version": f"{version.number} ({version.id})",
        "standard": "yes" if agent.is_standard else None, "made": agent.created_at, "prompt": version.base_prompt,
    }, agent)


@command(app, "list")
def list_agents(session: Session) -> None:
    """All agents, the standard ones too."""
    agents = list(session.client.list_agents())
    rows = [(found.id, str(found.current_version.number), found.current_version.defaults.model, found.name)
            for found in agents]
    session.out.table(("id", "version", "model", "name~"), rows, agents)


@command(app, "show")
def show(session: Session, agent: Id) -> None:
    """One agent, with its current version."""
    _shown(session, session.client.get_agent(agent))


@command(app, "create")
def create(
    session: Session, name: Annotated[str | None, typer.Argument(metavar="NAME", help="What it is called.")] = None,
    prompt: Prompt = None, model: Model = None, provider: Provider = None, container: Container = None,
    image: Image = None, internet: Internet = None, allow_host: HostsFlag = None, max_runtime: MaxRuntime = None,
    max_cost: CostFlag = None, max_tokens: TokensFlag = None, description: About = None, file: Whole = None,
) -> None:
    """Define an agent. Without a container or an image it runs in the standard coding container, without internet."""
    body = _fields(name, prompt, model, provider, container, image, internet, allow_host, max_runtime, max_cost,
                   max_tokens, description, file)
    if not body.get("name") or not (body.get("defaults") or {}).get("model"):
        raise Stop(Exit.WRONG_USE, "An agent needs a name and a model: agentcontainer agents create NAME -m MODEL")
    body["defaults"] = {"internetAccess": False, "maxRuntimeSeconds": 1800, **body.get("defaults", {})}
    _shown(session, session.client.create_agent({"basePrompt": "", **body}))


@command(app, "update")
def update(
    session: Session, agent: Id, name: Name = None, prompt: Prompt = None, model: Model = None,
    provider: Provider = None, container: Container = None, image: Image = None, internet: Internet = None,
    allow_host: HostsFlag = None, max_runtime: MaxRuntime = None, max_cost: CostFlag = None,
    max_tokens: TokensFlag = None, description: About = None, file: Whole = None,
) -> None:
    """Change what is given; that makes a new version."""
    body = _fields(name, prompt, model, provider, container, image, internet, allow_host, max_runtime, max_cost,
                   max_tokens, description, file)
    _shown(session, session.client.update_agent(agent, body))


@command(app, "fork")
def fork(session: Session, agent: Id, name: Name = None) -> None:
    """Make a standard agent one of your own."""
    _shown(session, session.client.fork_agent(agent, **given(name=name)))


@command(app, "archive")
def archive(session: Session, agent: Id) -> None:
    """Take an agent out of use."""
    session.client.archive_agent(agent)
    session.out.done(f"{agent}  archived", {"id": agent, "archived": True})


@command(app, "versions")
def versions(session: Session, agent: Id) -> None:
    """Its versions, the latest first."""
    found = list(session.client.list_agent_versions(agent))
    rows = [(str(version.number), version.id, version.defaults.model, version.created_at) for version in found]
    session.out.table(("number", "id", "model", "made"), rows, found)


@command(app, "files")
def files(session: Session, agent: Id) -> None:
    """The reference files that each of its tasks has."""
    from agentcontainer_local.cli.output import size

    found = list(session.client.list_reference_files(agent))
    rows = [(file.id, size(file.size_bytes), file.filename) for file in found]
    session.out.table(("id", "size", "name~"), rows, found, "No files.")


@command(app, "attach")
def attach(
    session: Session, agent: Id,
    paths: Annotated[list[Path], typer.Argument(metavar="FILE", help="What to attach.")],
) -> None:
    """Upload files and give them to the agent, in a new version."""
    from agentcontainer_local.cli import downloads

    uploaded = downloads.uploaded(session, paths)
    _shown(session, session.client.attach_reference_files(agent, [file.id for file in uploaded]))


@command(app, "detach")
def detach(session: Session, agent: Id, file: Annotated[str, typer.Argument(metavar="FILE", help="Its id.")]) -> None:
    """Take a reference file away, in a new version."""
    session.client.detach_reference_file(agent, file)
    session.out.done(f"{file}  detached", {"id": file, "detached": True})
