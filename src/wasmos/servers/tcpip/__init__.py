"""`tcpip`: streams over TCP and names, for tasks that hold a capability for it.

Law: a task reaches nothing that the operator hasn't named. Ports are mapped one
by one, connecting is off unless it is switched on, and what a task holds here
is gone when the task is.

Read `server` first, then `connection`; `network` is the seam to the host, with
`host` and `fake` behind it.
"""

from wasmos.servers.tcpip.bounds import Bounds
from wasmos.servers.tcpip.ports import PortMap
from wasmos.servers.tcpip.server import Tcpip

__all__ = ["Bounds", "PortMap", "Tcpip"]
