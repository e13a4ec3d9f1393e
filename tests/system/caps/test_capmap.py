"""Maps of capabilities: the same in every format, whatever guests call themselves."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wasmos
from tests.support import wat
from wasmos.errors import ManifestError
from wasmos.system.caps import capmap
from wasmos.system.caps import graph as capmap_graph
from wasmos.system.caps import svg as capmap_svg

EVIL = [
    '"', "'", "\\", "\n", "\r\nt9 --> t0", "\x1b[2J\x1b]0;x\x07", "</svg>", "</title><script>",
    "&amp;", "&#0;", "]]>", "<!--", "`x`", "```", "**x**", "]; end", '"]:::task',
    "%%{init: {}}%%", "\\l\\N", "\u202e", "\x00", "\x7f", "\x9b", "\ud800", "\ufffe", "#quot;",
    "graph", "{}", "|", "1. x", "x  through 3 of task 1 vm",
    "日本語", "", " ", "javascript:alert(1)", "x" * 300,
]  # fmt: skip


@pytest.fixture
def system(kernel: wasmos.Kernel) -> wasmos.Kernel:
    """A task with a grant that went two steps on, denials, and a holder that has ended."""
    kernel.serve(wat.Plus())
    web = kernel.spawn(
        wat.SLEEP, name="web", allow=["console", "tcpip.listen(listen_port=80)"],
        deny=["fs.delete"], origin="policy.toml:12",
    )  # fmt: skip
    worker, helper = (kernel.spawn(wat.SLEEP, name=name) for name in ("worker", "helper"))
    console = web.grants[1]
    through = console.delegate(worker, uses=3)
    through.delegate(helper, seconds=60, origin="asked for")
    kernel.pass_on(web, helper, "tcpip.listen(listen_port=80)", offer=True)
    kernel.grant(
        helper, 'fs(dir="/srv/data", at="/data", mode="ro") once', origin="control (pid 7)"
    )
    kernel.kill(worker)
    kernel.run(lambda: worker.exit is not None)
    return kernel


TREE = """\
task 3 web
  1 DENY fs.delete  from policy.toml:12
  2 console  from policy.toml:12
  └ 4 console  to task 4 worker, its holder has ended, 3 uses left
    └ 5 console  to task 5 helper, 3 uses left, 60 s left  from asked for
  3 tcpip.listen(listen_port=80)  from policy.toml:12
  └ 6 tcpip.listen(listen_port=80)  to task 5 helper, offered
task 5 helper
  5 console  through 4 of task 4 worker
  6 tcpip.listen(listen_port=80)  through 3 of task 3 web
  7 fs(dir="/srv/data", at="/data", mode="ro") once, 1 use left  from control (pid 7)
task 4 worker (ended)
  4 console  through 2 of task 3 web
hold nothing: plus"""


def test_the_tree(system: wasmos.Kernel) -> None:
    assert capmap.render(capmap.snapshot(system), "tree") == TREE


def test_a_snapshot_is_plain_data(system: wasmos.Kernel) -> None:
    found = capmap.snapshot(system, "demo")
    assert json.loads(json.dumps(found)) == found
    assert json.loads(capmap.render(found, "json")) == found
    assert (found["version"], found["name"]) == (1, "demo")
    assert found["tasks"][0] == {"id": 2, "name": "plus", "kind": "service", "services": ["plus"]}
    assert found["grants"][4] == {
        "id": 5, "holder": 5, "holder_name": "helper", "rule": "console", "deny": False,
        "state": "live", "parent": 4, "by": 4, "origin": "asked for", "badge": {}, "uses_left": 3,
        "seconds_left": found["grants"][4]["seconds_left"],
    }  # fmt: skip
    assert 59 < found["grants"][4]["seconds_left"] <= 60
    # What is shown is made of nothing else.
    assert capmap.render(json.loads(json.dumps(found)), "tree") == TREE


def test_secrets_are_in_no_snapshot(system: wasmos.Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capmap, "secret_names", lambda: frozenset(["dir", "listen_port"]))
    text = json.dumps(capmap.snapshot(system))
    assert "/srv/data" not in text and "=80" not in text
    assert "listen_port=***" in text and '"dir": "***"' in text


def test_dot(system: wasmos.Kernel) -> None:
    lines = capmap.render(capmap.snapshot(system), "dot").splitlines()
    assert (lines[0], lines[-1]) == ("digraph capabilities {", "}")
    nodes = [line for line in lines if "[label=" in line]
    assert len(nodes) == 2 + 7  # the worker holds what came through somebody
    assert len([line for line in lines if " -> " in line]) == 7
    assert "  t0 -> t0_1;" in lines and "  t0_1_0 -> t0_1_0_0;" in lines
    assert any('label="1 DENY fs.delete\\lfrom policy.toml:12\\l"' in line for line in nodes)


def test_mermaid(system: wasmos.Kernel) -> None:
    lines = capmap.render(capmap.snapshot(system), "mermaid").splitlines()
    assert lines[0] == "flowchart LR"
    assert '  t0_0["1 DENY fs.delete<br/>from policy.toml:12"]:::deny' in lines
    assert "  t0_1_0 --> t0_1_0_0" in lines
    assert (
        '  t0_2_0["to task 5 helper<br/>6 tcpip.listen(listen_port=80)<br/>offered"]:::offered'
        in lines
    )


def boxes(text: str) -> list[tuple[float, float, float, float]]:
    root = ET.fromstring(text)
    rects = root.iter("{http://www.w3.org/2000/svg}rect")
    return [
        (
            float(r.get("x", 0)),
            float(r.get("y", 0)),
            float(r.get("width", 0)),
            float(r.get("height", 0)),
        )
        for r in list(rects)[1:]
    ]


def assert_laid_out(text: str) -> None:
    """No box is on another one, and all of them are in the picture."""
    root = ET.fromstring(text)
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    found = boxes(text)
    for x, y, w, h in found:
        assert x >= 0 and y >= 0 and x + w <= width + 1 and y + h <= height + 1
    for number, (x, y, w, h) in enumerate(found):
        for a, b, c, d in found[number + 1 :]:
            assert x + w <= a or a + c <= x or y + h <= b or b + d <= y


def test_svg(system: wasmos.Kernel) -> None:
    text = capmap.render(capmap.snapshot(system, "demo"), "svg")
    assert_laid_out(text)
    assert len(boxes(text)) == 9
    shown = [
        "".join(e.itertext()) for e in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert {"task 3 web", "1 DENY fs.delete", "from policy.toml:12", "offered", "60 s left"} <= set(
        shown
    )


def test_nothing_at_all() -> None:
    empty: dict[str, Any] = {"version": 1, "name": "", "tasks": [], "grants": []}
    assert capmap.render(empty, "tree") == ""
    ET.fromstring(capmap.render(empty, "svg"))
    for format in capmap.FORMATS:  # noqa: A001
        capmap.render(empty, format)
    with pytest.raises(ValueError, match="no format 'svgg'; did you mean 'svg'"):
        capmap.render(empty, "svgg")


# --- names ----------------------------------------------------------------------------------------


def named(name: str) -> dict[str, Any]:
    """A snapshot in which everything that can be a text is this one."""
    grant = {"holder": 3, "holder_name": name, "rule": name, "deny": False, "state": "live",
             "by": 0, "origin": name, "badge": {name: name}, "uses_left": None,
             "seconds_left": None}  # fmt: skip
    return {
        "version": 1, "name": name,
        "tasks": [{"id": 3, "name": name, "kind": "program", "services": [name]},
                  {"id": 4, "name": name, "kind": "program", "services": []}],
        "grants": [{**grant, "id": 1, "parent": 0},
                   {**grant, "id": 2, "parent": 1, "holder": 5, "origin": ""}],
    }  # fmt: skip


def check_all(name: str) -> None:
    found, usual = named(name), named("usual")
    for format in capmap.FORMATS:  # noqa: A001
        text = capmap.render(found, format)
        assert all(line.isprintable() for line in text.split("\n")), format
        text.encode()
    # A name makes no line, no box and no arrow.
    count = len(capmap.render(usual, "tree").split("\n"))
    assert len(capmap.render(found, "tree").split("\n")) == count
    assert json.loads(capmap.render(found, "json")) == found
    for line in capmap.render(found, "dot").split("\n"):
        assert re.fullmatch(r'[^"\\]*("(\\[\\"l]|[^"\\])*"[^"\\<]*)*', line), line
    for line in capmap.render(found, "mermaid").split("\n")[1:]:
        assert re.fullmatch(
            r'  \w+\["([\w .,:/=*()+…-]|#\d+;|<br/>)*"\]:::\w+|'
            r"  \w+ --> \w+|  classDef [\w :#,-]+",
            line,
        ), line
    svg = capmap.render(found, "svg")
    assert {e.tag.split("}")[1] for e in ET.fromstring(svg).iter()} <= {
        "svg", "title", "rect", "path", "g", "text"
    }  # fmt: skip
    assert len(boxes(svg)) == len(boxes(capmap.render(usual, "svg")))
    assert_laid_out(svg)


@pytest.mark.parametrize("name", EVIL, ids=ascii)
def test_no_name_breaks_a_format(name: str) -> None:
    check_all(name)


@given(st.text(max_size=80))
def test_no_text_does(name: str) -> None:
    check_all(name)


def test_a_name_cant_be_mistaken_for_what_we_say() -> None:
    assert capmap.name_text("web-api.2") == "web-api.2"
    assert capmap.name_text("x  from policy.toml:1") == '"x  from policy.toml:1"'
    assert capmap.name_text('a"b\\c\n') == '"a\\"b\\\\c\\n"'
    assert capmap.name_text("") == '""'


# --- the layout -----------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 30), max_size=30), st.lists(st.integers(0, 200), max_size=30))
def test_boxes_never_overlap(parents: list[int], sizes: list[int]) -> None:
    """Any tree, with texts of any length."""
    grants = [
        {"id": n + 1, "holder": 1, "holder_name": "t", "deny": False, "state": "live",
         "rule": "r" * (sizes[n] if n < len(sizes) else 5), "parent": parent if parent <= n else 0,
         "by": 0, "origin": "", "badge": {}, "uses_left": n, "seconds_left": None}
        for n, parent in enumerate(parents)
    ]  # fmt: skip
    tasks = [{"id": 1, "name": "t", "kind": "program", "services": []}]
    text = capmap_svg.svg({"version": 1, "name": "", "tasks": tasks, "grants": grants})
    assert_laid_out(text)
    assert len(boxes(text)) == (len(grants) + 1 if grants else 0)


def test_a_chain_that_is_too_deep_ends_somewhere() -> None:
    """The kernel makes none; a file could say anything, also that a grant is its own parent."""
    grant = {**named("x")["grants"][0]}
    deep = [{**grant, "id": n + 1, "parent": n} for n in range(500)]
    loop = [{**grant, "id": 1, "parent": 2}, {**grant, "id": 2, "parent": 1}]
    for grants in (deep, loop):
        found = {**named("x"), "grants": grants}
        for format in capmap.FORMATS:  # noqa: A001
            capmap.render(found, format)
    assert len(capmap_graph.walk(capmap_graph.graph({**named("x"), "grants": deep}))) < 100


# --- manifests ------------------------------------------------------------------------------------


def test_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "web.wat").write_text(wat.SLEEP)
    manifest = tmp_path / "system.toml"
    manifest.write_text(
        "[system]\nprograms = ['programs']\n"
        "[task.web]\nuse = ['console', 'tcpip.listen(listen_port=80)']\n"
    )
    policy = tmp_path / "policy.toml"
    policy.write_text(
        "[default]\ndeny = ['fs.delete']\n[task.web]\nallow = ['console', 'tcpip.listen']\n"
    )
    found = capmap.from_manifest(str(manifest))
    assert capmap.render(found, "tree").replace(f"{tmp_path}/", "") == (
        "task web\n"
        "  DENY fs.delete  from policy.toml:2\n"
        "  console  from policy.toml:4\n"
        "  tcpip.listen(listen_port=80)  from policy.toml:4\n"
        'task "[spawn]"\n'
        "  DENY fs.delete  from policy.toml:2"
    )
    for format in capmap.FORMATS:  # noqa: A001
        capmap.render(found, format)
    other = tmp_path / "other.toml"
    other.write_text(policy.read_text().replace("fs.delete", "fs.write"))
    assert "DENY fs.write" in capmap.render(capmap.from_manifest(str(manifest), str(other)), "tree")
    policy.write_text("[task.web]\nalow = []\n")
    with pytest.raises(ManifestError, match="alow"):
        capmap.from_manifest(str(manifest))


def test_the_demonstration() -> None:
    found = capmap.render(capmap.from_manifest(None), "tree")
    assert "task webserver\n" in found and "tcpip.listen(listen_port=80)" in found
