"""HARNESS.md: instructions for the agent about its environment."""

import json
from typing import Any

from agentcontainer_local.pi import prompts
from agentcontainer_local.pi.inputs import Input
from agentcontainer_local.store.rows import Task


def harness(task: Task, given: list[Input], reference: list[Input]) -> str:
    files = "".join(f"- `~/{item.place}` ({item.size_bytes} bytes)\n" for item in (*given, *reference))
    ending = prompts.ANSWERING if task["mode"] == "conversation" else prompts.ENDING
    return prompts.HARNESS.format(
        network=_network(task),
        files=files or prompts.NO_FILES,
        ending=ending.format(outputs=_outputs(json.loads(task["output_policy"]))),
    )


def _network(task: Task) -> str:
    if task["internet_access"]:
        return prompts.INTERNET
    if allowed := json.loads(task["allowed_hosts"]):
        return prompts.PROXY.format(hosts=", ".join(f"`{name}`" for name in allowed))
    return prompts.NO_NETWORK


def _outputs(policy: dict[str, Any]) -> str:
    if policy["mode"] != "named":
        return f"{prompts.OUTPUTS[policy['mode']]}\n"
    about = {output["name"]: output.get("description") or "" for output in policy["files"]}
    wanted = "".join(f"- `{name}`" + (f": {text}" if text else "") + "\n" for name, text in about.items())
    return prompts.NAMED_OUTPUTS.format(wanted=wanted, flags=" ".join(f"--output {name}=PATH" for name in about))
