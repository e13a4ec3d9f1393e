"""The audit log: what was asked, what was decided, and by which rule; one JSON object a line.

Law: a line that was written can't be changed, moved or taken out without it showing, and no line
holds a secret. docs/reference/audit.md is the format's definition.

    schema    the keys, and the chain of hashes        reader   reading and following
    mask      secrets in rules                         verify   is it as it was written?
    form      a record as text                         query    which records to show
    files     opening, locking, rotating               show     a record as a line
    log       the writer                               explain  a record, explained
    recorder  what the kernel tells, for the writer    needed   the rule that was missing
    flood     what of many denials is written
"""

from __future__ import annotations

from wasmos.system.audit.log import AuditLog
from wasmos.system.audit.recorder import Recorder

__all__ = ["AuditLog", "Recorder"]
