"""Fs: files and directories, in memory or below a directory of the host.

Law: what a task sees is what its grants name. That is an image, which the host fills before and
saves after and nobody reads through to the host's files; or host directories, each by a grant that
names it, and a path leads to nothing outside of either.
"""

from wasmos.servers.fs.image import Directory, File, Image, ImageError
from wasmos.servers.fs.mounts import check_badge
from wasmos.servers.fs.server import Fs

__all__ = ["Directory", "File", "Fs", "Image", "ImageError", "check_badge"]
