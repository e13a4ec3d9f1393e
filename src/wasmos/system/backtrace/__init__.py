"""What a task was doing when it ended: from the engine's numbers to functions, files and lines.

Law: reading what a program says about itself never raises, and takes a bounded number of steps.
Reading order: `frame` (what is told), `symbols` (who is asked), `dwarf`, `ranges`, `scopes` and
`lines` (what is read), `cursor` (how), `rust` (names that a compiler made), `show` (for people).
"""

from wasmos.system.backtrace.frame import Frame, backtrace, build_id, has_debug_information
from wasmos.system.backtrace.show import trace

__all__ = ["Frame", "backtrace", "build_id", "has_debug_information", "trace"]
