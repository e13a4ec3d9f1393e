"""The map of what a manifest and its policy would grant, without booting it.

Law: the same rules from the same lines as a boot would grant; nothing is run. What has no number
yet, a task or a grant, has a negative one here, which isn't shown.
"""

from __future__ import annotations

from wasmos.kernel import Rule
from wasmos.system.audit.mask import secret_names, without
from wasmos.system.caps.capmap import VERSION
from wasmos.system.manifest.manifest import load
from wasmos.system.policy.rights import Right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from wasmos.system.caps.capmap import Row, Snapshot
    from wasmos.system.manifest.manifest import Manifest, TaskPlan

SPAWN = "[spawn]"  # whatever is started without a section of its own


def read(path: str | None, policy: str | None = None) -> Snapshot:
    """Raises ManifestError, NotGranted."""
    manifest = load(path, policy)
    tasks: list[Row] = []
    grants: list[Row] = []
    for name, plan in _plans(manifest):
        id = -1 - len(tasks)
        services = [] if plan.service is None else [plan.service]
        tasks.append({"id": id, "name": name, "kind": "program", "services": services})
        own = (plan.args, "args"), (plan.env, "env")
        for given, service in own:
            if given and service in manifest.servers:
                right = Right(Rule.parse(service), f"its {service}")
                grants.append(_row(-1 - len(grants), right, False, id, name))
        rights = [(right, True) for right in plan.deny] + [(right, False) for right in plan.allow]
        for right, deny in rights:
            grants.append(_row(-1 - len(grants), right, deny, id, name))
    return {"version": VERSION, "name": manifest.name, "tasks": tasks, "grants": grants}


def _plans(manifest: Manifest) -> Iterator[tuple[str, TaskPlan]]:
    for plan in manifest.tasks.values():
        yield plan.name, plan
    if manifest.spawn.allow or manifest.spawn.deny:
        yield SPAWN, manifest.spawn


def _row(id: int, right: Right, deny: bool, holder: int, name: str) -> Row:
    rule, secrets = right.rule, secret_names()
    return {
        "id": id,
        "holder": holder,
        "holder_name": name,
        "rule": without(secrets, str(rule)),
        "deny": deny,
        "state": "live",
        "parent": 0,
        "by": 0,
        "origin": right.origin,
        "badge": {key: "***" if key in secrets else text for key, text in rule.badge.items()},
        "uses_left": rule.uses,
        "seconds_left": rule.seconds,
    }
