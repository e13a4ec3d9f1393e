"""The demonstration's web server in a process of its own: python -m bench.peers.web_child AUDIT

AUDIT is none, denials or calls: what is written to an audit log in a folder that goes away with
the process. Prints the port, then answers until its input ends.
"""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
import time
from pathlib import Path

import wasmos
from wasmos.kernel.aio import AsyncKernel
from wasmos.servers.console import Console
from wasmos.servers.tcpip import Tcpip
from wasmos.system.audit import AuditLog, Recorder
from wasmos.system.programs import PACKAGED


async def serve(audit: str, folder: str) -> None:
    async with AsyncKernel() as kernel:
        if audit != "none":
            log = AuditLog(Path(folder) / "audit.jsonl")
            offset = time.time_ns() - kernel.sync.now_ns
            kernel.sync.audit(Recorder(log, offset_ns=offset).record, calls=audit == "calls")
        kernel.serve(Console(io.BytesIO(), output_limit=1 << 16))
        bound: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        kernel.serve(Tcpip(ports=["0:80"], on_bound=lambda _, end: bound.set_result(end.port)))
        allow = ["tcpip.listen(listen_port=80)", "console.write"]
        await kernel.spawn(str(Path(PACKAGED) / "webserver.wasm"), allow=allow, trusted=True)
        print(await bound, flush=True)
        await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="wasmos-bench-") as folder:
        asyncio.run(serve(sys.argv[1], folder))


if __name__ == "__main__":
    assert wasmos.__version__
    main()
