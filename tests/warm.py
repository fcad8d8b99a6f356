"""astro-sr without its start: each call is done by a copy of one process that has all loaded.

A copy has the words, folder and streams of the command, gives it its exit code, and ends with it.
For tests of what other programs do with the command; it needs a system that can fork.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_COMMAND = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    call = json.dumps([sys.argv, os.getcwd()]).encode()
    socket.send_fds(server, [call], [0, 1, 2])
    sys.exit(ord(server.recv(1)))
"""


@contextmanager
def warm_command() -> Iterator[Path]:
    """Make the command; it works within the block."""
    # The folder of a test may have too long a name for a socket.
    with tempfile.TemporaryDirectory() as folder:
        address, command = Path(folder) / "socket", Path(folder) / "astro-sr"
        command.write_text(_COMMAND.format(python=sys.executable, address=str(address)))
        command.chmod(0o755)
        words = [sys.executable, __file__, str(address)]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield command
            server.kill()


def _serve(address: str) -> None:
    import astro_sr_plugin as asr
    from astro_sr_plugin.cli import main

    # All that a command may need: public names are loaded at their first use.
    for name in dir(asr):
        getattr(asr, name)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            with suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
            caller, _ = listening.accept()
            if os.fork() == 0:
                break
            caller.close()
    call, streams, _, _ = socket.recv_fds(caller, 1 << 16, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    sys.argv, folder = json.loads(call)
    os.chdir(folder)
    threading.Thread(target=_end_with, args=(caller,), daemon=True).start()
    try:
        code = main()
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    sys.stdout.flush()
    sys.stderr.flush()
    caller.send(bytes([code]))
    os._exit(0)


def _end_with(caller: socket.socket) -> None:
    caller.recv(1)
    os._exit(1)


if __name__ == "__main__":
    _serve(sys.argv[1])
