"""`fs(dir=…) once` is never used up by a task that holds another, unlimited fs grant: the kernel admits (and counts) each message by
the unlimited one, and the server shows the files of both.
"""
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
        "evil", f'fs(dir="{scene.folder}/b", at="/b")', f'fs(dir="{scene.folder}/a", at="/a") 2 times'
    )
    opened = [evil.call("fs", abi.FsOpen("/a/f", 0)).error for _ in range(5)]
    print(evil.grants, [g.uses_left for g in evil.grants])
    assert sum(not error for error in opened) <= 2
