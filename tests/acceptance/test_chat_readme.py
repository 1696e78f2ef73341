"""The README's walk through chat, pasted as it is into a shell, on a service as `make run` starts it."""

import asyncio
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

from tests.acceptance.cluster import Cluster

README = Path(__file__).parents[2] / "README.md"


async def test_the_walk(cluster: Cluster) -> None:
    (service,) = await cluster.start(1)
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    (walk,) = [block for block in blocks if "python -m websockets" in block]
    walk = walk.replace("localhost:8080", f"localhost:{service.port}")
    walk = walk.replace("sleep 3", "sleep 6")  # a busy machine
    (service.folder / ".venv").symlink_to(sys.prefix)
    shell = await asyncio.create_subprocess_exec(
        "bash", "-ec", walk, cwd=service.folder, env=service.environment, stdout=PIPE, stderr=STDOUT
    )
    out = (await shell.communicate())[0].decode()
    assert shell.returncode == 0, out
    assert re.search(r"alice: Hello Bob  ✓$", out, re.MULTILINE), out
    assert '"content":"Hello Bob"' in out, out
    assert '"type":"sent","id":1' in out, out
    assert re.search(r"alice: Hello Bob  ✓✓ read\n.* bob: Hello Alice\n$", out), out
