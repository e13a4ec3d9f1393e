"""The JSON Schemas: they know the keys that the readers know, and nothing else."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import wasmos_
from wasmos.system import supervisor
from wasmos.system.manifest import manifest, schema
from wasmos.system.manifest.manifest import DEMO
from wasmos.system.policy import policy
from wasmos.system.policy.policy import beside


def read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(schema.text(name))
    return document


def keys(table: dict[str, Any]) -> set[str]:
    assert table["type"] == "object" and table["additionalProperties"] is False
    return set(table["properties"])


def test_of_manifests() -> None:
    document = read("manifest")
    sections = document["properties"]
    assert keys(document) == {"system", "fs", "tcpip", "task", "spawn"}
    assert keys(sections["system"]) == set(manifest.SYSTEM_KEYS)
    assert keys(sections["fs"]) == set(manifest.FS_KEYS)
    assert keys(sections["tcpip"]) == set(manifest.TCPIP_KEYS)
    assert keys(sections["spawn"]) == set(manifest.SPAWN_KEYS)
    task = document["$defs"]["task"]
    assert keys(task) == set(manifest.TASK_KEYS)
    assert task["properties"]["restart"]["enum"] == list(supervisor.MODES)
    assert task["properties"]["max_restarts"]["default"] == supervisor.MAX_RESTARTS
    servers = sections["system"]["properties"]["servers"]["items"]["enum"]
    assert servers == list(manifest.SERVERS)


def test_of_policies() -> None:
    document = read("policy")
    assert keys(document) == set(policy.SECTIONS)
    assert keys(document["properties"]["default"]) == set(policy.DEFAULT_KEYS)
    assert keys(document["$defs"]["rights"]) == set(policy.KEYS)
    for section in ("spawn", "run"):
        assert document["properties"][section]["$ref"] == "#/$defs/rights"


def fits(value: Any, rule: dict[str, Any], root: dict[str, Any]) -> bool:
    """As much of JSON Schema as ours use."""
    if "$ref" in rule:
        rule = root["$defs"][rule["$ref"].rpartition("/")[2]]
    if "anyOf" in rule:
        return any(fits(value, one, root) for one in rule["anyOf"])
    if "enum" in rule:
        return value in rule["enum"]
    types = {"string": str, "integer": int, "number": (int, float), "array": list, "object": dict}
    named = rule["type"] if isinstance(rule["type"], list) else [rule["type"]]
    if not any(isinstance(value, types[name]) for name in named):  # type: ignore[arg-type]
        return False
    if isinstance(value, list):
        return all(fits(item, rule["items"], root) for item in value)
    if not isinstance(value, dict):
        return True
    known, other = rule.get("properties", {}), rule["additionalProperties"]
    return all(
        fits(item, known[key], root) if key in known else other and fits(item, other, root)
        for key, item in value.items()
    )


@pytest.mark.parametrize(("path", "name"), [(DEMO, "manifest"), (beside(DEMO), "policy")])
def test_the_demonstration_fits(path: str, name: str) -> None:
    tables = tomllib.loads(Path(path).read_text())
    document = read(name)
    assert fits(tables, document, document)
    assert not fits(tables | {"nothing": {}}, document, document)
    assert not fits(tables | {"task": {"a": {"alow": []}}}, document, document)


@pytest.mark.parametrize("name", schema.NAMES)
def test_they_can_be_printed(name: str) -> None:
    done = wasmos_("check", "--schema", name)
    assert (done.returncode, done.stdout) == (0, schema.text(name))
