"""The kernel in an asyncio program.

Law: the kernel is a citizen of the caller's loop: it runs guests for a bounded
slice, then lets everything else have a turn. Nothing here blocks the loop but
that slice.
"""

from __future__ import annotations

import asyncio
from functools import partial

from wasmos.errors import UsageError
from wasmos.kernel.driver import resolve
from wasmos.kernel.kernel import Kernel
from wasmos.kernel.limits import Limits
from wasmos.kernel.program import Program, size_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wasmos import abi
    from wasmos.kernel.exit import Exit
    from wasmos.kernel.program import Source
    from wasmos.kernel.service import Service
    from wasmos.kernel.task import Client, Task

# Up to this size a module is judged without a thread, which has to wait for its turn on a busy
# system: that takes 20 ms at most, while a large one can take seconds.
JUDGED_AT_ONCE_BYTES = 64 << 10


class AsyncKernel:
    """A kernel that runs in the background of the loop it was entered in.

    async with wasmos.AsyncKernel() as kernel:
        kernel.serve(Pong())
        task = await kernel.spawn("ping.wasm", allow=["pong"])
        print(await kernel.wait(task))

    Takes the options of `Kernel`. What needs no waiting is on `sync`, the
    `Kernel` itself; its own `wait`, `call` and `run` must not be used here.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._pump: asyncio.Task[bool] | None = None
        self.sync: Kernel

    async def __aenter__(self) -> AsyncKernel:
        self.sync = Kernel(**self._options)
        loop = self.sync.loop  # binds it to the running one
        self._pump = loop.create_task(self.sync.driver.drive(lambda: self.sync.closed))
        return self

    async def running(self) -> None:
        """Wait until the kernel is closed. Raises what ended it otherwise."""
        if self._pump is not None:
            await asyncio.wait((self._pump,))
            self._pump.result()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End all tasks. Raises what went wrong inside the kernel, if anything."""
        self.sync.close()
        self.sync.kick()
        if self._pump is not None:
            pump, self._pump = self._pump, None
            await pump
        # Cancelled coroutines of services and closing transports get their turn.
        for _ in range(3):
            await asyncio.sleep(0)

    async def load(
        self,
        source: Source | Program,
        *,
        limits: Limits | None = None,
        trusted: bool = False,
        library: bool = False,
    ) -> Program:
        """As `Kernel.load`; in a thread it is judged, if that can take long, and the compiler's
        child is waited for; cancelling this ends that."""
        if isinstance(source, Program):
            return source
        prepare = partial(self.sync.prepare, source, limits or Limits(), library=library)
        size = size_of(source)
        is_soon_judged = size is not None and size <= JUDGED_AT_ONCE_BYTES
        program = prepare() if is_soon_judged else await asyncio.to_thread(prepare)
        if program.module is None:
            await _compile(program, trusted)
        return self.sync.finish_loading(program)

    async def spawn(
        self,
        source: Source | Program,
        *,
        limits: Limits | None = None,
        trusted: bool = False,
        **options: Any,
    ) -> Task:
        """As `Kernel.spawn`."""
        library = options.get("entry") is not None
        program = await self.load(source, limits=limits, trusted=trusted, library=library)
        return self.sync.spawn(program, limits=limits, **options)

    def serve(self, service: Service, *, name: str | None = None) -> Task:
        """As `Kernel.serve`."""
        return self.sync.serve(service, name=name)

    async def wait(self, task: Task, *, timeout: float | None = None) -> Exit:
        """Wait until `task` ends; how it ended. Raises TimeoutError (by the
        loop's clock); the task then goes on."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def tell(_exit: Exit) -> None:
            resolve(ended)

        task.when_ended(tell)
        try:
            async with asyncio.timeout(timeout):
                await self._or_pump(ended)
        finally:
            task.unwatch(tell)
        assert task.exit is not None
        return task.exit

    async def call(
        self,
        service: str,
        message: abi.Message,
        *,
        client: Client | None = None,
        timeout: float | None = None,
    ) -> Any:
        """As `Kernel.call`. Cancelling it, or its timeout, ends the client's
        task; the service finishes what it does, and the answer is dropped."""
        if client is None:
            client = self.sync.idle_client()
            try:
                return await self.call(service, message, client=client, timeout=timeout)
            finally:
                self.sync.release_client(client)
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                client.begin(service, message, lambda: resolve(answered))
                await self._or_pump(answered)
        except (asyncio.CancelledError, TimeoutError):
            client.kill("its call was given up")
            raise
        return client.finish()

    async def _or_pump(self, future: asyncio.Future[None]) -> None:
        """Wait for `future`, or raise what ended the kernel's own loop."""
        pump = self._pump
        if pump is None:
            raise UsageError("the kernel is not running: use `async with`")
        await asyncio.wait((future, pump), return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            future.cancel()
            pump.result()
            raise UsageError("the kernel was closed")
        future.result()


async def _compile(program: Program, trusted: bool) -> None:
    """In a thread. It ends with this: a program that exits waits for all threads, and the child may
    have a minute."""
    is_given_up = False

    def check(_seconds: float) -> None:
        if is_given_up:
            raise asyncio.CancelledError

    try:
        await asyncio.to_thread(program.compile, trusted, check)
    except asyncio.CancelledError:
        is_given_up = True
        raise
