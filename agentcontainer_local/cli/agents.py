"""`agentcontainer agents`: workers with a prompt, a model and a container."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentcontainer_local.cli import names
from agentcontainer_local.cli.containers import About, Name, Writable, given
from agentcontainer_local.cli.exits import Exit, Stop
from agentcontainer_local.cli.help import App
from agentcontainer_local.cli.session import AT_REST, Session, command
from agentcontainer_local.cli.task_flags import (
    CostFlag,
    HostsFlag,
    InternetFlag,
    ModelFlag,
    ProviderFlag,
    RuntimeFlag,
    TokensFlag,
    settings,
)
from agentcontainer_local.money import shown

if TYPE_CHECKING:
    from agentcontainer_local import schemas

app = App("Define agents: a prompt, a model and a container each.")
Agent = Annotated[str, typer.Argument(metavar="AGENT", help="Id or name of the agent.")]
Prompt = Annotated[str | None, typer.Option(metavar="TEXT", help="Base prompt; @FILE reads it from a file.")]
Container = Annotated[str | None, typer.Option(metavar="CONTAINER", help="Id or name of the agent's container.")]
Image = Annotated[str | None, typer.Option(metavar="IMAGE", help="Image to run in, instead of a container.")]
Whole = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        help="Request body of the API, as JSON; `-` is stdin. Flags override its fields.",
    ),
]


def _fields(
    name: str | None,
    prompt: str | None,
    model: str | None,
    provider: str | None,
    container: str | None,
    image: str | None,
    writable: list[str] | None,
    internet: bool | None,
    hosts: list[str] | None,
    max_runtime: int | None,
    max_cost: float | None,
    max_tokens: int | None,
    description: str | None,
    file: Path | None,
) -> dict[str, Any]:
    """The request's body: a file's, with what the flags say in its place."""
    body = _json(file) if file else {}
    prompt = Path(prompt[1:]).read_text() if prompt and prompt.startswith("@") else prompt
    defaults = settings(model, provider, internet, hosts, max_runtime, max_cost, max_tokens)
    runtime = _runtime(body.get("runtime") or {}, image, writable)
    said = given(name=name, basePrompt=prompt, containerId=container, runtime=runtime, description=description)
    before = body.get("defaults") or {}
    if not isinstance(before, dict):
        raise Stop(Exit.WRONG_USE, f"{file}: defaults is not a JSON object.")
    both = {**before, **defaults}
    return {**body, **said, **({"defaults": both} if both else {})}


def _runtime(before: Any, image: str | None, writable: list[str] | None) -> dict[str, Any] | None:
    """None where the flags say nothing of it."""
    if not image and not writable:
        return None
    if not image and not (isinstance(before, dict) and before.get("containerImage")):
        raise Stop(
            Exit.WRONG_USE,
            "--writable needs --image. For a container, use `agentcontainer containers update"
            " CONTAINER --writable DIR`.",
        )
    flags = given(containerImage=image, writablePaths=writable or None)
    return {"agentRuntime": "pi", **({} if image else before), **flags}


def _json(file: Path) -> dict[str, Any]:
    try:
        body = json.loads(sys.stdin.read() if str(file) == "-" else file.read_text())
    except ValueError as error:
        raise Stop(Exit.WRONG_USE, f"{file} is not JSON: {error}.") from None
    if not isinstance(body, dict):
        raise Stop(Exit.WRONG_USE, f"{file} is not a JSON object.")
    return body


def _shown(session: Session, agent: "schemas.Agent") -> None:

    version, defaults = agent.current_version, agent.current_version.defaults
    limits = defaults.limits.model_dump(by_alias=True, exclude_none=True)
    session.out.facts(
        {
            "id": agent.id,
            "name": agent.name,
            "description": agent.description,
            "model": f"{defaults.model} ({defaults.provider or 'the provider of the account'})",
            "weak model": defaults.weak_model,
            "own key": "yes" if defaults.has_provider_api_key else None,
            "internet": "yes" if defaults.internet_access else "no",
            "hosts": ", ".join(defaults.allowed_hosts) or None,
            "max runtime": f"{defaults.max_runtime_seconds} s",
            "wraps up after": f"{defaults.soft_finish_after_seconds} s" if defaults.soft_finish_after_seconds else None,
            "max cost": shown(defaults.max_cost_usd) if defaults.max_cost_usd else None,
            "max tokens": str(defaults.max_tokens) if defaults.max_tokens else None,
            "limits": ", ".join(f"{name} {value}" for name, value in limits.items()) or None,
            "isolation": defaults.isolation,
            "skills": ", ".join(skill.skill for skill in version.skills) or None,
            "outputs": defaults.output_policy.mode,
            "image": agent.runtime.container_image,
            "writable": ", ".join(agent.runtime.writable_paths) or None,
            "container": version.container_version_id,
            "version": f"{version.number} ({version.id})",
            "standard": "yes" if agent.is_standard else None,
            "made": agent.created_at,
            "prompt": version.base_prompt,
        },
        agent,
    )


@command(app, "list", example="agents list")
def list_agents(session: Session) -> None:
    """List all agents, including the standard ones."""
    agents = list(session.client.list_agents())
    rows = [
        (found.id, str(found.current_version.number), found.current_version.defaults.model, found.name)
        for found in agents
    ]
    session.out.table(("id", "version", "model", "name~"), rows, agents)


@command(app, "show", example="agents show coding")
def show(session: Session, agent: Agent) -> None:
    """Show one agent, with its current version."""
    _shown(session, session.client.get_agent(names.agent(session, agent)))


@command(app, "create", starts=AT_REST, example="agents create analyst -m claude-sonnet-4-5 --prompt @prompt.txt")
def create(
    session: Session,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the agent.")] = None,
    prompt: Prompt = None,
    model: ModelFlag = None,
    provider: ProviderFlag = None,
    container: Container = None,
    image: Image = None,
    writable: Writable = None,
    internet: InternetFlag = None,
    allow_host: HostsFlag = None,
    max_runtime: RuntimeFlag = None,
    max_cost: CostFlag = None,
    max_tokens: TokensFlag = None,
    description: About = None,
    file: Whole = None,
) -> None:
    """Define an agent. By default it runs in the standard coding container, without internet access."""
    container = names.container(session, container) if container else None
    body = _fields(
        name,
        prompt,
        model,
        provider,
        container,
        image,
        writable,
        internet,
        allow_host,
        max_runtime,
        max_cost,
        max_tokens,
        description,
        file,
    )
    if not body.get("name") or not (body.get("defaults") or {}).get("model"):
        raise Stop(
            Exit.WRONG_USE,
            "An agent needs a name and a model. Example: agentcontainer agents create analyst -m scripted",
        )
    body["defaults"] = {"internetAccess": False, "maxRuntimeSeconds": 1800, **body.get("defaults", {})}
    _shown(session, session.client.create_agent({"basePrompt": "", **body}))


@command(app, "update", example="agents update analyst --max-cost 2")
def update(
    session: Session,
    agent: Agent,
    name: Name = None,
    prompt: Prompt = None,
    model: ModelFlag = None,
    provider: ProviderFlag = None,
    container: Container = None,
    image: Image = None,
    writable: Writable = None,
    internet: InternetFlag = None,
    allow_host: HostsFlag = None,
    max_runtime: RuntimeFlag = None,
    max_cost: CostFlag = None,
    max_tokens: TokensFlag = None,
    description: About = None,
    file: Whole = None,
) -> None:
    """Change an agent. This makes a new version."""
    container = names.container(session, container) if container else None
    id = names.agent(session, agent)
    if writable and not image and not file and not container:
        image = session.client.get_agent(id).runtime.container_image  # as it is now
    body = _fields(
        name,
        prompt,
        model,
        provider,
        container,
        image,
        writable,
        internet,
        allow_host,
        max_runtime,
        max_cost,
        max_tokens,
        description,
        file,
    )
    _shown(session, session.client.update_agent(id, body))


@command(app, "fork", example="agents fork coding --name mine")
def fork(session: Session, agent: Agent, name: Name = None) -> None:
    """Copy a standard agent, so that you can change it."""
    _shown(session, session.client.fork_agent(names.agent(session, agent), **given(name=name)))


@command(app, "archive", example="agents archive analyst")
def archive(session: Session, agent: Agent) -> None:
    """Take an agent out of use."""
    id = names.agent(session, agent)
    session.client.archive_agent(id)
    session.out.done(f"{id}  archived", {"id": id, "archived": True})


@command(app, "versions", example="agents versions analyst")
def versions(session: Session, agent: Agent) -> None:
    """List the versions of an agent, newest first."""
    found = list(session.client.list_agent_versions(names.agent(session, agent)))
    rows = [(str(version.number), version.id, version.defaults.model, version.created_at) for version in found]
    session.out.table(("number", "id", "model", "made"), rows, found)


@command(app, "files", example="agents files analyst")
def files(session: Session, agent: Agent) -> None:
    """List the reference files that each task of the agent gets."""
    from agentcontainer_local.cli.output import size

    found = list(session.client.list_reference_files(names.agent(session, agent)))
    rows = [(file.id, size(file.size_bytes), file.filename) for file in found]
    session.out.table(("id", "size", "name~"), rows, found, "No files.")


@command(app, "attach", starts=AT_REST, example="agents attach analyst handbook.pdf")
def attach(
    session: Session,
    agent: Agent,
    paths: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files to attach.")],
) -> None:
    """Give the agent reference files. This makes a new version."""
    from agentcontainer_local.cli import downloads

    id, uploaded = names.agent(session, agent), downloads.uploaded(session, paths)
    _shown(session, session.client.attach_reference_files(id, [file.id for file in uploaded]))


@command(app, "detach", example="agents detach analyst handbook.pdf")
def detach(
    session: Session, agent: Agent, file: Annotated[str, typer.Argument(metavar="FILE", help="Id or name of the file.")]
) -> None:
    """Take a reference file from the agent. This makes a new version."""
    agent_id = names.agent(session, agent)
    id = names.reference_file(session, agent_id, file)
    session.client.detach_reference_file(agent_id, id)
    session.out.done(f"{id}  detached", {"id": id, "detached": True})
