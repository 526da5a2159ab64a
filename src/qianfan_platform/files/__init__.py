"""Blobs: addressed by our ids only, hashed on write, checked on read. And the gates for what comes from outside."""

from qianfan_platform.files.directory import DirectoryFiles
from qianfan_platform.files.memory import MemoryFiles
from qianfan_platform.files.reference import FileRef, Files

__all__ = ["DirectoryFiles", "FileRef", "Files", "MemoryFiles"]
