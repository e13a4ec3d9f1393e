"""How a run of one program ended."""

from __future__ import annotations

from wasmos.errors import TaskFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wasmos.kernel import Denial, Exit, Grant
    from wasmos.system.backtrace import Frame


class Completed:
    """How a run ended, in the manner of `subprocess.CompletedProcess`.

    returncode: the guest's own exit code, 124 time limit, 126 could not start,
        134 trap, 137 killed or output limit. exit: all about it. backtrace: where it was when it
        ended, if it was stopped. stdout, stderr: what it printed, if that was captured.
        denied: the services it asked for in vain. denied_by: of some of those, the deny
        rule that hid it, or the grant that has ended. denials: the first different messages that
        were refused. lacked: of a program for another system that ended badly, "fs" if it looked
        for directories and was given none, "tcpip" for ports.
    """

    __slots__ = (
        "_result_types", "_trace", "backtrace", "denials", "denied", "denied_by", "exit", "lacked",
        "stderr", "stdout",
    )  # fmt: skip

    def __init__(
        self,
        exit: Exit,
        stdout: bytes | None,
        denied: tuple[str, ...],
        denials: Iterable[Denial] = (),
        denied_by: Mapping[str, Grant] | None = None,
        stderr: bytes | None = None,
        result_types: Sequence[str] = (),
        lacked: tuple[str, ...] = (),
    ) -> None:
        self.exit = exit
        self._result_types = result_types
        self.stdout = stdout
        self.stderr = stderr
        self.denied = denied
        self.denied_by = dict(denied_by or {})
        self.denials = list(denials)
        self.lacked = lacked
        self.backtrace: list[Frame] = []
        self._trace: list[list[str]] = [[], []]
        if exit.backtrace:  # now: who keeps this doesn't keep the module
            from wasmos.system.backtrace import backtrace, trace

            frames = self.backtrace = backtrace(exit)
            self._trace = [trace(exit, frames, details=details) for details in (False, True)]

    def trace(self, *, details: bool = False) -> list[str]:
        """The backtrace as people read it, a line for each function."""
        return self._trace[details]

    def show_results(self) -> list[str]:
        """What the function returned that was called, `exit.results`, as text; [] without one."""
        if not self.exit.results:
            return []
        from wasmos.system.invoke import shown

        return shown(self._result_types, self.exit.results)

    @property
    def returncode(self) -> int:
        return self.exit.status

    def check_returncode(self) -> None:
        """Raises GuestExit, GuestTrap, DeadlineExceeded or TaskKilled, with the backtrace as a
        note."""
        try:
            self.exit.check()
        except TaskFailed as error:
            if self._trace[0]:
                error.add_note("\n".join(self._trace[0]))
            raise

    def __repr__(self) -> str:
        return f"<Completed {self.exit}>"
