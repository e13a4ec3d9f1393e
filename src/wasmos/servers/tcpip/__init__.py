"""`tcpip`: streams over TCP and names, for tasks that hold a capability for it.

Law: a task reaches nothing that it wasn't granted: the kernel checks the message,
and what a grant's badge says is checked here. Where a guest's port is on the host,
the operator says, port by port or by a grant. What a task holds here is gone when
the task is, and what was made by a capability when that is.

Read `server` first, then `connection`, and `badges` and `rights` for what grants
mean; `network` is the seam to the host, with `host` and `fake` behind it.
"""

from wasmos.servers.tcpip.badges import check_badge
from wasmos.servers.tcpip.bounds import Bounds
from wasmos.servers.tcpip.ports import PortMap
from wasmos.servers.tcpip.server import Tcpip

__all__ = ["Bounds", "PortMap", "Tcpip", "check_badge"]
