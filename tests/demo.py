"""`./dev demo`: a server, an agent that draws a chart from a real CSV file, and the two files that come back."""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from rich.console import Console

CSV = Path(__file__).parent / "data" / "penguins.csv"
KEYS = {"ANTHROPIC_API_KEY": "claude-sonnet-4-5", "OPENAI_API_KEY": "gpt-5", "OPENROUTER_API_KEY": "anthropic/claude-sonnet-4.5"}
OUTPUTS = {"summary": "summary.md", "chart": "chart.png"}
SECONDS = 900

INSTRUCTIONS = '''Look at the penguins in task_files/penguins.csv: how heavy are the three species, and how does body mass go with flipper length?
Write summary.md with a table of the means, and draw chart.png. This program does it:

```say
I look at the file first.
```

```bash
head -4 task_files/penguins.csv && wc -l task_files/penguins.csv
```

```bash
cat > analyse.py <<'PROGRAM'
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

penguins = pd.read_csv("task_files/penguins.csv").dropna(subset=["body_mass_g", "flipper_length_mm"])
means = penguins.groupby("species")[["body_mass_g", "flipper_length_mm"]].mean().round(1)
correlation = penguins["body_mass_g"].corr(penguins["flipper_length_mm"])
with open("summary.md", "w") as summary:
    summary.write(f"# Penguins\\n\\n{len(penguins)} penguins were measured.\\n\\n")
    summary.write("| species | body mass (g) | flipper length (mm) |\\n|---|---|---|\\n")
    for species, row in means.iterrows():
        summary.write(f"| {species} | {row.body_mass_g} | {row.flipper_length_mm} |\\n")
    summary.write(f"\\nThe correlation of body mass and flipper length is {correlation:.2f}.\\n")
figure, axes = plt.subplots(figsize=(8, 5))
for species, group in penguins.groupby("species"):
    axes.scatter(group["flipper_length_mm"], group["body_mass_g"], label=species, alpha=0.7)
axes.set(xlabel="flipper length (mm)", ylabel="body mass (g)", title="Palmer penguins")
axes.legend()
figure.savefig("chart.png", dpi=120, bbox_inches="tight")
print(open("summary.md").read())
PROGRAM
python3 analyse.py
```

```finish
--complete-task --message "The table is in summary.md, the chart in chart.png." --output summary=summary.md --output chart=chart.png
```
'''


def main() -> int:
    console = Console(highlight=False, soft_wrap=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="agentcontainer-demo-data-") as data:
        key = "ac_live_" + secrets.token_urlsafe(24)
        console.print("[bold]1. The server[/bold]")
        with serving(Path(data), key, console) as url, httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60
        ) as client:
            console.print(f"[bold]2. An upload[/bold]\n   {CSV.name}, {CSV.stat().st_size} bytes")
            file_id = upload(client, CSV)
            task = dispatch(client, file_id)
            who = task["execution"]
            console.print(f"[bold]3. A task[/bold]\n   {task['id']} for {task['agentName']}, model {who['model']} ({who['provider']})")
            task = follow(client, task["id"], console)
            if task["status"] != "finished":
                console.print(f"[red]The task is {task['status']}: {task['error']}[/red]")
                return 1
            folder = download(client, task["id"])
    report(console, task, folder, time.monotonic() - began)
    return 0


@contextmanager
def serving(data: Path, key: str, console: Console) -> Iterator[str]:
    """A server of the demo's own, on a free port; nothing of it is left afterwards."""
    command = [sys.executable, "-m", "agentcontainer_local", "serve", "--port", "0", "--data", str(data)]
    environ = {**os.environ, "AGENTCONTAINER_API_KEY": key, "AGENTCONTAINER_BILLING": "unlimited"}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
    try:
        ready = next((line for line in server.stdout if "is ready at" in line), None)
        if ready is None:
            raise SystemExit("The server did not start; its words are above.")
        url = ready.split("is ready at ")[1].split()[0]
        console.print(f"   ready at {url}")
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()


def upload(client: httpx.Client, path: Path) -> str:
    prepared = answer(client.post("/api/v1/uploads/prepare", json={"filename": path.name, "contentType": "text/csv"}))
    with path.open("rb") as content:
        answer(httpx.put(prepared["uploadUrl"], content=content, headers=prepared["headers"]))
    return answer(client.post("/api/v1/uploads/complete", json={"uploadId": prepared["uploadId"]}))["fileId"]


def dispatch(client: httpx.Client, file_id: str) -> dict:
    """Lets a provider think if the environment has a key for one, else the built-in scripted model."""
    model = next((model for name, model in KEYS.items() if os.environ.get(name)), "scripted")
    policy = {"mode": "named", "files": [{"name": name} for name in OUTPUTS]}
    overrides = {"model": model, "maxRuntimeSeconds": 600, "outputPolicy": policy}
    body = {"instructions": INSTRUCTIONS, "inputFileIds": [file_id], "overrides": overrides}
    return answer(client.post("/api/v1/agents/agt_standard_data/tasks", json=body))


def follow(client: httpx.Client, task_id: str, console: Console) -> dict:
    """Shows what happens as it happens; answers the task when it has ended."""
    cursor, deadline = None, time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        task = answer(client.get(f"/api/v1/tasks/{task_id}"))
        page = answer(client.get(f"/api/v1/tasks/{task_id}/events", params={"order": "asc", **({"after": cursor} if cursor else {})}))
        for event in page["data"]:
            cursor = event["id"]
            show(event, console)
        if task["completedAt"] and not page["data"]:
            return task
        time.sleep(0.1)
    raise SystemExit(f"The task did not end within {SECONDS} seconds.")


def show(event: dict, console: Console) -> None:
    data = event["data"]
    if event["event"] == "task.updated":
        console.print(f"   [cyan]{data['status']}[/cyan]")
    elif event["event"] == "message.created" and data["role"] == "assistant":
        console.print(f"   [green]agent:[/green] {data['content']}", markup=True)
    elif event["event"] == "activity.started":
        command = (data["input"] or {}).get("command", "")
        console.print(f"   [yellow]{data['toolKey']}:[/yellow] ", end="")
        console.print(command.strip().splitlines()[0] + (" …" if "\n" in command.strip() else "") if command else "", markup=False)
    elif event["event"] == "activity.completed" and data.get("output"):
        console.print("\n".join(f"      {line}" for line in data["output"].strip().splitlines()), markup=False, style="dim")


def download(client: httpx.Client, task_id: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="agentcontainer-demo-"))
    folder.chmod(0o755)
    for file in answer(client.get(f"/api/v1/tasks/{task_id}/files"))["data"]:
        content = client.get(f"/api/v1/tasks/{task_id}/files/{file['id']}").raise_for_status().content
        (folder / OUTPUTS[file["outputName"]]).write_bytes(content)
    return folder


def report(console: Console, task: dict, folder: Path, seconds: float) -> None:
    usage = task["tokenUsage"]
    console.print("[bold]4. What came back[/bold]")
    for name in OUTPUTS.values():
        console.print(f"   {folder / name}  ({(folder / name).stat().st_size} bytes)")
    console.print(
        f"   {usage['calls']} model calls, {usage['inputTokens']} tokens in, {usage['outputTokens']} out;"
        f" {task['containerMinutes'] * 60:.0f} s in the container, which the hosted service would bill with"
        f" USD {task['costUsd']:.4f}; {seconds:.0f} s in all"
    )


def answer(response: httpx.Response) -> dict:
    if response.is_error:
        raise SystemExit(f"{response.request.method} {response.request.url} answered {response.status_code}: {response.text}")
    return response.json()


if __name__ == "__main__":
    sys.exit(main())
