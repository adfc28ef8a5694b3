"""`./dev demo`: a server, an agent that draws a chart from a real CSV file, and the two files that come back."""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentcontainer_local import schemas
from agentcontainer_local.cli.output import Output, size
from agentcontainer_local.cli.transcript import Transcript, summary
from agentcontainer_local.client import Client, ClientError

CSV = Path(__file__).parent / "data" / "penguins.csv"
KEYS = {
    "ANTHROPIC_API_KEY": "claude-sonnet-4-5",
    "OPENAI_API_KEY": "gpt-5",
    "OPENROUTER_API_KEY": "anthropic/claude-sonnet-4.5",
}
OUTPUTS = {"summary": "summary.md", "chart": "chart.png"}

INSTRUCTIONS = """Look at the penguins in task_files/penguins.csv: how heavy are the three species, and how does body
mass go with flipper length?
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
--complete-task --message "Here are the table and the chart." --output summary=summary.md --output chart=chart.png
```
"""


def main() -> int:
    out, began = Output(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="agentcontainer-demo-data-") as data:
        key = "ac_live_" + secrets.token_urlsafe(24)
        out.say("1. The server", "bold")
        with serving(Path(data), key, out) as url, Client(url, key) as client:
            out.say("2. An upload", "bold")
            file = client.upload(CSV)
            out.say(f"   {file.filename}, {file.size_bytes} bytes")
            out.say("3. A task", "bold")
            task = dispatch(client, file.id)
            out.say(f"   {task.id} for {task.agent_name}, model {task.execution.model} ({task.execution.provider})")
            task = follow(client, task.id, out)
            if task.status != "finished":
                out.say(f"The task is {task.status}: {task.error}", "red")
                return 1
            folder = download(client, task.id)
    report(out, task, folder, time.monotonic() - began)
    return 0


@contextmanager
def serving(data: Path, key: str, out: Output) -> Iterator[str]:
    """A server of the demo's own, on a free port; nothing of it is left afterwards."""
    command = [sys.executable, "-m", "agentcontainer_local", "serve", "--port", "0", "--data", str(data)]
    environ = {**os.environ, "AGENTCONTAINER_API_KEY": key, "AGENTCONTAINER_BILLING": "unlimited"}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)
    threading.Thread(target=_pass_on, args=(server.stderr,), daemon=True).start()
    try:
        ready = next((line for line in server.stdout if "is ready at" in line), None)
        if ready is None:
            raise SystemExit("The server did not start; its words are above.")
        url = ready.split("is ready at ")[1].split()[0]
        out.say(f"   ready at {url}")
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()


def _pass_on(log: Iterator[str]) -> None:
    """What the server logs, such as an image that is built; but a task's moves are what the demo itself shows."""
    for line in log:
        if " INFO tasks." not in line:
            print(line, end="", file=sys.stderr, flush=True)


def dispatch(client: Client, file_id: str) -> schemas.Task:
    """Lets a provider think if the environment has a key for one, else the built-in scripted model."""
    model = next((model for name, model in KEYS.items() if os.environ.get(name)), "scripted")
    policy = {"mode": "named", "files": [{"name": name} for name in OUTPUTS]}
    return client.create_task(
        "agt_standard_data",
        instructions=INSTRUCTIONS,
        input_file_ids=[file_id],
        overrides={"model": model, "max_runtime_seconds": 600, "output_policy": policy},
    )


def follow(client: Client, task_id: str, out: Output) -> schemas.Task:
    """Shows what happens as it happens; answers the task when it has ended."""
    shown = Transcript(out)
    with shown.live():
        for event in client.stream(task_id):
            shown.show(event.event, event.data)
    return client.get_task(task_id)


def download(client: Client, task_id: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="agentcontainer-demo-"))
    folder.chmod(0o755)
    for file in client.list_task_files(task_id):
        client.download_task_file(task_id, file.id, folder / OUTPUTS[file.output_name])
    return folder


def report(out: Output, task: schemas.Task, folder: Path, seconds: float) -> None:
    out.say("4. What came back", "bold")
    for name in OUTPUTS.values():
        out.say(f"   {folder / name}  ({size((folder / name).stat().st_size)})")
    out.say(f"   {summary(task)}: container time as the hosted service would bill it; {seconds:.0f} s in all")
    out.say("5. Next", "bold")
    out.say("   ./dev exec -- agentcontainer serve     starts a server, and says where its page is")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ClientError as error:
        sys.exit(f"demo: {error}")
