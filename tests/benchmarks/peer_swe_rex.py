"""Run by the Python that has SWE-ReX: the first command in a new container, and the next. Usage: IMAGE ROUNDS."""

import asyncio
import json
import logging
import sys
import time

from swerex.deployment.docker import DockerDeployment
from swerex.runtime.abstract import Command


async def one(image: str) -> dict[str, float]:
    """Its packages are mounted where they are: the image has the same Python, and need not be built anew."""
    paths = f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin"
    mounted = [f"--volume={sys.prefix}:{sys.prefix}:ro", f"--env=PATH={paths}", "--user=root"]
    deployment = DockerDeployment(image=image, container_runtime="podman", pull="never", docker_args=mounted)
    began = time.monotonic()
    await deployment.start()
    try:
        await deployment.runtime.execute(Command(command=["echo", "hello"]))
        first = time.monotonic()
        await deployment.runtime.execute(Command(command=["echo", "hello"]))
        return {"first": 1000 * (first - began), "next": 1000 * (time.monotonic() - first)}
    finally:
        await deployment.stop()


async def main() -> None:
    for _ in range(int(sys.argv[2])):
        print(json.dumps(await one(sys.argv[1])), flush=True)


logging.disable(logging.CRITICAL)
asyncio.run(main())
