"""Console: the terminal, or whatever stands in for it.

Law: a guest's bytes can be read, but can't play tricks on a terminal, fill a disk beyond a limit,
or take what another guest was given.
"""

from wasmos.servers.console.server import Console

__all__ = ["Console"]
