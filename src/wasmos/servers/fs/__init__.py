"""Fs: files and directories in memory.

Law: guests never touch the host's files. An image is filled before they run and saved after, by
the host; in between there is only the image, and a path can name nothing outside of it.
"""

from wasmos.servers.fs.image import Directory, File, Image, ImageError
from wasmos.servers.fs.server import Fs

__all__ = ["Directory", "File", "Fs", "Image", "ImageError"]
