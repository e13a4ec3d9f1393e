"""A grant that can be used once is used once, also beside another, unlimited one."""

from __future__ import annotations

from tests.attacks.attack import Scene
from wasmos import abi
from wasmos.servers.fs import Fs


def test_a_directory_once(scene: Scene) -> None:
    for name in "ab":
        (scene.folder / name).mkdir()
        (scene.folder / name / "f").write_bytes(b"SECRET")
    scene.serve(Fs())
    evil = scene.agent(
        "evil",
        f'fs(dir="{scene.folder}/b", at="/b")',
        f'fs(dir="{scene.folder}/a", at="/a") 2 times',
    )
    opened = [evil.call("fs", abi.FsOpen("/a/f", 0)).error for _ in range(5)]
    assert sum(not error for error in opened) <= 2
