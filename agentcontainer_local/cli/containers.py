"""`agentcontainer containers`: what agents run in."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentcontainer_local.cli import names
from agentcontainer_local.cli.help import App
from agentcontainer_local.cli.session import AT_REST, Session, command

if TYPE_CHECKING:
    from agentcontainer_local import schemas

app = App("Define the environments that agents run in.")
Container = Annotated[str, typer.Argument(metavar="CONTAINER", help="Id or name of the container.")]
Name = Annotated[str | None, typer.Option(metavar="TEXT", help="Name.")]
About = Annotated[str | None, typer.Option("--description", metavar="TEXT", help="Description.")]
Image = Annotated[
    str | None, typer.Option(metavar="IMAGE", help="Linux image, for example docker.io/library/python:3.13-slim.")
]
Preset = Annotated[
    str | None, typer.Option(metavar="NAME", help="Standard image: coding, data-processing or document-analysis.")
]


Writable = Annotated[
    list[str] | None,
    typer.Option("--writable", metavar="DIR", help="Directory of the image that the agent may write to. Repeatable."),
]


def given(**fields: Any) -> dict[str, Any]:
    """The fields that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def _shown(session: Session, container: "schemas.Container") -> None:
    version = container.current_version
    session.out.facts(
        {
            "id": container.id,
            "name": container.name,
            "description": container.description,
            "preset": version.container_preset,
            "image": version.container_image,
            "writable": ", ".join(version.writable_paths) or None,
            "version": f"{version.number} ({version.id})",
            "standard": "yes" if container.is_standard else None,
            "made": container.created_at,
        },
        container,
    )


@command(app, "list", example="containers list")
def list_containers(session: Session) -> None:
    """List all containers, including the standard ones."""
    containers = list(session.client.list_containers())
    rows = [
        (
            found.id,
            str(found.current_version.number),
            found.current_version.container_image or found.current_version.container_preset or "",
            found.name,
        )
        for found in containers
    ]
    session.out.table(("id", "version", "image", "name~"), rows, containers)


@command(app, "show", example="containers show coding")
def show(session: Session, container: Container) -> None:
    """Show one container."""
    _shown(session, session.client.get_container(names.container(session, container)))


@command(app, "create", starts=AT_REST, example="containers create mine --image localhost/mine:1")
def create(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the container.")],
    image: Image = None,
    preset: Preset = None,
    writable: Writable = None,
    description: About = None,
) -> None:
    """Define a container from an image or a standard image."""
    fields = given(
        container_image=image, container_preset=preset, writable_paths=writable or None, description=description
    )
    _shown(session, session.client.create_container(name=name, **fields))


@command(app, "update", example="containers update mine --image localhost/mine:2")
def update(
    session: Session,
    container: Container,
    name: Name = None,
    image: Image = None,
    preset: Preset = None,
    writable: Writable = None,
    description: About = None,
) -> None:
    """Change a container. A new image makes a new version."""
    fields = given(
        name=name,
        container_image=image,
        container_preset=preset,
        writable_paths=writable or None,
        description=description,
    )
    _shown(session, session.client.update_container(names.container(session, container), **fields))


@command(app, "fork", example="containers fork coding --name mine")
def fork(session: Session, container: Container, name: Name = None) -> None:
    """Copy a standard container, so that you can change it."""
    _shown(session, session.client.fork_container(names.container(session, container), **given(name=name)))


@command(app, "archive", example="containers archive mine")
def archive(session: Session, container: Container) -> None:
    """Take a container out of use."""
    id = names.container(session, container)
    session.client.archive_container(id)
    session.out.done(f"{id}  archived", {"id": id, "archived": True})


@command(app, "versions", example="containers versions mine")
def versions(session: Session, container: Container) -> None:
    """List the versions of a container, newest first."""
    found = list(session.client.list_container_versions(names.container(session, container)))
    rows = [
        (str(version.number), version.id, version.container_image or version.container_preset or "", version.created_at)
        for version in found
    ]
    session.out.table(("number", "id", "image", "made"), rows, found)
