"""`agentcontainer containers`: what agents run in."""

from typing import Annotated

import typer

from agentcontainer_local.cli.session import Session, command

app = typer.Typer(no_args_is_help=True, help="Containers: the environments that agents run in.")
Id = Annotated[str, typer.Argument(metavar="CONTAINER", help="The container's id.")]
Name = Annotated[str | None, typer.Option(metavar="TEXT", help="What it is called.")]
About = Annotated[str | None, typer.Option("--description", metavar="TEXT", help="What it is for.")]
Image = Annotated[str | None, typer.Option(
    metavar="IMAGE", help="Any Linux image, as docker.io/library/python:3.13-slim.")]
Preset = Annotated[str | None, typer.Option(metavar="NAME", help="coding, data-processing or document-analysis.")]


def given(**fields) -> dict:
    """What was said."""
    return {name: value for name, value in fields.items() if value is not None}


def _shown(session: Session, container) -> None:
    version = container.current_version
    session.out.facts({
        "id": container.id, "name": container.name, "description": container.description,
        "preset": version.container_preset, "image": version.container_image,
        "version": f"{version.number} ({version.id})", "standard": "yes" if container.is_standard else None,
        "made": container.created_at,
    }, container)


@command(app, "list")
def list_containers(session: Session) -> None:
    """All containers, the standard ones too."""
    containers = list(session.client.list_containers())
    rows = [(found.id, str(found.current_version.number),
             found.current_version.container_image or found.current_version.container_preset or "", found.name)
            for found in containers]
    session.out.table(("id", "version", "image", "name~"), rows, containers)


@command(app, "show")
def show(session: Session, container: Id) -> None:
    """One container."""
    _shown(session, session.client.get_container(container))


@command(app, "create")
def create(
    session: Session, name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")],
    image: Image = None, preset: Preset = None, description: About = None,
) -> None:
    """Define a container, from an image or from one of ours."""
    fields = given(container_image=image, container_preset=preset, description=description)
    _shown(session, session.client.create_container(name=name, **fields))


@command(app, "update")
def update(
    session: Session, container: Id, name: Name = None, image: Image = None, preset: Preset = None,
    description: About = None,
) -> None:
    """Change what is given; another image makes a new version."""
    fields = given(name=name, container_image=image, container_preset=preset, description=description)
    _shown(session, session.client.update_container(container, **fields))


@command(app, "fork")
def fork(session: Session, container: Id, name: Name = None) -> None:
    """Make a standard container one of your own."""
    _shown(session, session.client.fork_container(container, **given(name=name)))


@command(app, "archive")
def archive(session: Session, container: Id) -> None:
    """Take a container out of use."""
    session.client.archive_container(container)
    session.out.done(f"{container}  archived", {"id": container, "archived": True})


@command(app, "versions")
def versions(session: Session, container: Id) -> None:
    """Its versions, the latest first."""
    found = list(session.client.list_container_versions(container))
    rows = [(str(version.number), version.id, version.container_image or version.container_preset or "",
             version.created_at) for version in found]
    session.out.table(("number", "id", "image", "made"), rows, found)
