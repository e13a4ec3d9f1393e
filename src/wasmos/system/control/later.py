"""A system that can be spoken to once it has run for a while.

Law: a program that is over soon pays nothing for it, not even an import. Neither the wait for it
nor the socket is a reason for a kernel to go on in which nothing can happen any more.
"""

from __future__ import annotations

import os

from wasmos.errors import ControlError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wasmos.kernel import Kernel
    from wasmos.system.control.server import Control
    from wasmos.system.offer import Offer

VARIABLE = "WASMOS_CONTROL"  # "0": none; a directory: there
DELAY_SECONDS = 0.25


def is_off(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment says that no system shall be spoken to."""
    return environment.get(VARIABLE, "") in ("0", "no", "off")


class Later:
    """A `Control` in a moment. `log` takes a line if there can't be one."""

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        log: Callable[[str], object] = lambda _: None,
        *,
        offer: Offer | None = None,
    ) -> None:
        self.control: Control | None = None
        self._kernel = kernel
        self._name = name
        self._log = log
        self._offer = offer
        self._timer = kernel.call_later(DELAY_SECONDS, self._start, quiet=True)

    def _start(self) -> None:
        self.control = start(self._kernel, self._name, self._log, self._offer)

    def close(self) -> None:
        """Before the kernel is closed."""
        self._timer.cancel()
        if self.control is not None:
            self.control.close()


def start(
    kernel: Kernel, name: str, log: Callable[[str], object], offer: Offer | None = None
) -> Control | None:
    """Let a kernel be spoken to; it goes on without that where it can't be."""
    from wasmos.system.control.server import Control

    control = Control(kernel, name, offer)
    try:
        control.start()
    except ControlError as error:
        log(f"note: {error}")
        return None
    except OSError as error:
        log(f"note: no control socket: {error.filename or 'socket'}: {error.strerror or error}")
        return None
    return control
