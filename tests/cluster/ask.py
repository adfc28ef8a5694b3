"""Reads [options, method, args, kwargs] of one call of the product's Slurm, and prints the answer, all as JSON."""

import asyncio
import json
import sys
from dataclasses import asdict, is_dataclass
from enum import Enum

from agentcontainer_local.scheduler import Refused, Resources, Unavailable
from agentcontainer_local.scheduler.slurm import Slurm

STORE = "str_trial"


def plain(value):
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {name: plain(part) for name, part in asdict(value).items()}
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list) else value


async def main() -> None:
    options, method, args, kwargs = json.load(sys.stdin)
    if method == "submit":
        args[2] = Resources(**args[2])
    try:
        print(json.dumps(plain(await getattr(Slurm(STORE, options), method)(*args, **kwargs))))
    except (Refused, Unavailable) as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))


asyncio.run(main())
