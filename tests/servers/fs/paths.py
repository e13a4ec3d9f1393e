"""Paths by what they name, where there are a file `f`, an empty directory `e`, and `d/sub/deep`;
and those that lead out."""

from __future__ import annotations

from tests.servers.fs import trees

SAME_FILE = [
    "f",
    "/f",
    "//f",
    "./f",
    "/./f",
    "e/../f",
    "d/sub/../../f",
    ".//.//f",
    "d/./sub/../../e/../f",
]
SAME_DIRECTORY = ["d/sub", "/d/sub", "d/sub/", "d//sub//", "d/sub/.", "d/sub/./", "e/../d/sub"]
ROOT = ["/", ".", "//", "/.", "./", "e/..", "d/sub/../..", "/e/../"]
OUTSIDE = ["..", "/..", "../f", "e/../..", "d/sub/../../../f", "../../../../etc/passwd", "./../f"]
MISSING = [
    "x",
    "f2",
    "e/x",
    "x/y",
    "x/..",
    "x/../f",
    "d/sub/deep2",
    "e/f",
    "F",
    "f ",
    "\udcff",
    "ｆ",
]
UNDER_FILE = ["f/", "f/.", "f/..", "f/x", "f/../f", "d/sub/deep/x", "f//"]

# Forms of paths that lead out, with the names of links that trees.py plants.
TEXTS = [
    "../outside/secret",
    "../outside",
    "../outside/",
    "../outside/new",
    "d/../../outside/secret",
    "d/sub/../../../outside/sub/deep",
    "./.././outside/secret",
    "..//outside//secret",
    "../inside/../outside/secret",
    "f/../../outside/secret",
    "e/../../outside/empty",
    "..",
    "../",
    "../.",
    "d/../..",
    "d/sub/../../..",
    "{outside}/secret",
    "//{outside}/secret",
    "{outside}/../outside/secret",
    "/../outside/secret",
    "\\..\\outside\\secret",
    "..\\outside",
    "%2e%2e/outside/secret",
    "．．/outside/secret",
    "~/outside/secret",
    "CON",
    "COM¹",
    "f:stream",
    "F",
    "f.",
    "f ",
    "\udcff/../../outside/secret",
    "ä" * 120 + "/../../outside/secret",
    "x" * 255,
    "x" * 256 + "/../../outside/secret",
    "d/" * 200 + "../outside",
    "../" * 200 + "etc/passwd",
    "f/",
    "d/",
    "e//",
    "e/.",
]
THROUGH = ["{}", "{}/", "{}/.", "{}/secret", "{}/outside/secret", "{}/sub/deep", "{}/new", "{}/.."]
FORMS = [*TEXTS, *[form.format(name) for name in (trees.LINKS | trees.LOOPS) for form in THROUGH]]
