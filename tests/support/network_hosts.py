"""Hosts for the tests: network namespaces on one bridge, each with its own name, address and folder.

A host reaches the others only over the bridge. It sees the file system of the machine, and so the same
Python, but of the network's folder only its own part: no file can pass between hosts.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracking_servers import Unavailable, end, wait

# Set the host name $1, hide the network's folder $2 except for the host's part $3, and run the rest.
ISOLATE = """
hostname "$1"; exec 9<"$3"; mount -t tmpfs none "$2"; mkdir -p "$3"; mount -c --bind /proc/self/fd/9 "$3"
shift 3; exec "$@" 9<&-
"""


class Network:
    """A bridge and the hosts on it, removed at the end of the block.

    This process has an address on the bridge too. Entering raises Unavailable, with the reason, if this
    machine cannot have hosts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.bridge, self.subnet = folder.resolve(), "", 0
        self.hosts: list[Host] = []

    def __enter__(self) -> Network:
        if os.geteuid() != 0 or sys.platform != "linux":
            raise Unavailable("hosts are network namespaces, which only root on Linux can create")
        if missing := [name for name in ("ip", "bridge", "mount", "unshare", "hostname") if not shutil.which(name)]:
            raise Unavailable(
                f"hosts are network namespaces, for which `{missing[0]}` is missing (iproute2, util-linux)"
            )
        self._claim()
        try:
            _ip("addr", "add", f"10.77.{self.subnet}.1/24", "dev", self.bridge)
            _ip("link", "set", self.bridge, "up")
            probe = self.host("probe")
            problem = "" if probe.run(["true"]).wait() == 0 else probe.log.read_text()
            probe.remove()
            self.hosts.clear()
        except subprocess.CalledProcessError as error:
            problem = error.stderr
        if problem:
            self.__exit__()
            raise Unavailable(f"hosts are network namespaces, which this machine refuses: {problem.strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts:
            host.remove()
        _ip("link", "del", self.bridge, check=False)

    def host(self, name: str, *, apart: bool = False) -> Host:
        """Return a new host called `name`; hosts that are `apart` reach all others, but not each other."""
        number = len(self.hosts) + 2
        host = Host(self, name, f"10.77.{self.subnet}.{number}", f"{self.bridge}.{number}")
        self.hosts.append(host)  # before it is created, so that a half-created one is removed
        host.make(apart)
        return host

    def _claim(self) -> None:
        """Take the first free number: the system refuses a second bridge of that name, to any process."""
        for self.subnet in range(1, 255):
            self.bridge = f"gridcast{self.subnet}"
            _remove_orphans(self.bridge)
            created = _ip("link", "add", self.bridge, "type", "bridge", check=False)
            if created.returncode == 0:
                _ip("link", "set", self.bridge, "alias", str(os.getpid()))
                return
            if "exists" not in created.stderr:
                raise Unavailable(f"hosts are network namespaces, which this machine refuses: {created.stderr.strip()}")
        raise Unavailable("254 networks of hosts exist already; see `ip netns`")


class Host:
    """One host of a `Network`; `folder` is its disk, `prefix` the command that runs commands on it."""

    def __init__(self, network: Network, name: str, address: str, cable: str) -> None:
        self.name, self.address, self.cable, self.bridge = name, address, cable, network.bridge
        self.namespace, self.folder = f"{network.bridge}-{name}", network.folder / name
        isolated = ("unshare", "--uts", "sh", "-ec", ISOLATE, "sh", name, str(network.folder), str(self.folder))
        self.prefix = ("ip", "netns", "exec", self.namespace, *isolated)
        self._processes: list[subprocess.Popen] = []

    def make(self, apart: bool) -> None:
        """Create the host and bring it up."""
        self.folder.mkdir(parents=True)
        _ip("netns", "add", self.namespace)
        _ip("link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        _ip("link", "set", self.cable, "master", self.bridge, "up")
        _run("bridge", "link", "set", "dev", self.cable, "isolated", "on" if apart else "off")
        for arguments in (("addr", "add", f"{self.address}/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
            _ip("-n", self.namespace, *arguments)
        _ip("-n", self.namespace, "link", "set", "lo", "up")

    def run(self, command: Sequence[str], **popen: Any) -> subprocess.Popen:
        """Start `command` in the folder of the host; its output goes to the host's log unless `popen` redirects it."""
        with self.log.open("a") as log:
            options = {"cwd": self.folder, "stdout": log, "stderr": log, "start_new_session": True} | popen
            process = subprocess.Popen([*self.prefix, *command], **options)
        self._processes.append(process)
        return process

    @property
    def log(self) -> Path:
        """Output of its processes."""
        return self.folder / "log"

    def wait_for_port(self, port: int, seconds: float = 30) -> None:
        """Return once a process listens at `port`. Raises TimeoutError."""

        def is_open() -> bool:
            with contextlib.suppress(OSError), socket.create_connection((self.address, port), timeout=1):
                return True
            return False

        wait(is_open, seconds, f"no process listened at port {port} of {self.name}")

    def cut_off(self) -> None:
        """Drop every packet to and from the host from now on; its own link still looks fine."""
        _run("bridge", "link", "set", "dev", self.cable, "state", "0")

    def reconnect(self) -> None:
        """Let packets through again."""
        _run("bridge", "link", "set", "dev", self.cable, "state", "3")

    @property
    def received(self) -> int:
        """Bytes that it received over the network so far."""
        return int(Path(f"/sys/class/net/{self.cable}/statistics/tx_bytes").read_text())

    def pids(self) -> list[int]:
        """Return the ids of the processes that run on it."""
        return [int(pid) for pid in _ip("netns", "pids", self.namespace, check=False).stdout.split()]

    def kill(self) -> None:
        """SIGKILL every process that runs on it."""

        def are_gone() -> bool:
            for pid in (pids := self.pids()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not pids

        wait(are_gone, 20, f"the processes of {self.name} did not end")
        for process in self._processes:
            end(process)
        self._processes = []

    def remove(self) -> None:
        """Kill it and remove it from the network; do nothing if it was not created."""
        self.kill()
        _ip("link", "del", self.cable, check=False)
        _ip("netns", "del", self.namespace, check=False)


def _remove_orphans(bridge: str) -> None:
    """Remove the network that a killed process left, and what still runs on its hosts."""
    alias = Path("/sys/class/net", bridge, "ifalias")
    owner = alias.read_text().strip() if alias.exists() else ""
    if not owner or Path("/proc", owner).exists():
        return
    for namespace in Path("/run/netns").glob(f"{bridge}-*"):
        for pid in _ip("netns", "pids", namespace.name, check=False).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        _ip("netns", "del", namespace.name, check=False)
    for cable in [*Path("/sys/class/net").glob(f"{bridge}.*"), alias.parent]:
        _ip("link", "del", cable.name, check=False)


def _ip(*arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    return _run("ip", *arguments, check=check)


def _run(*command: str, check: bool = True) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, check=check)
