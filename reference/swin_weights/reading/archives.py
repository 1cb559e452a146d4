"""Archives: the members of a zip file are bounded and checked before anything in them is believed."""

from __future__ import annotations

import zipfile
from collections import Counter
from math import prod
from typing import Any, BinaryIO

import numpy as np

LARGEST = 2**34
"""The most bytes that a checkpoint may unpack to; the largest Swin has 2**30 in float32."""

PACKED = 200
"""How many times as long as its file a checkpoint may be, if over `SMALL`: trained weights hardly pack."""

SMALL = 2**28
"""The bytes up to which a checkpoint may pack to any length: zeros and masks pack well."""

CHUNK = 2**24


def check_archive(file: BinaryIO) -> dict[str, int]:
    """Returns the length of each member of a zip file, after reading all of them: their checksums are right.

    Errors: ``ValueError`` for a member that is encrypted, there twice, damaged, or unpacks to too much.
    """
    with zipfile.ZipFile(file) as archive:
        members = list_members(archive)
        for member in members:
            with archive.open(member) as opened:
                while opened.read(CHUNK):
                    pass
    return {member.filename: member.file_size for member in members}


def list_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Returns the members of an archive; nothing is unpacked yet.

    Errors: ``ValueError`` for a member that is encrypted, there twice, or unpacks to too much.
    """
    members = archive.infolist()
    for member in members:
        if member.flag_bits & 1:
            raise ValueError(f"{member.filename} is encrypted")
    packed, total = (
        sum(getattr(member, size) for member in members) for size in ("compress_size", "file_size")
    )
    if total > min(LARGEST, max(SMALL, PACKED * packed)):
        raise ValueError(f"it unpacks to {total} bytes from {packed}, which no weights do")
    names = Counter(member.filename for member in members)
    if twice := [name for name, number in names.items() if number > 1]:
        raise ValueError(f"it holds {twice[0]} twice")
    return members


def read_npz(file: BinaryIO) -> dict[str, Any]:
    """Reads an archive of NumPy's: the name of each array, and the array.

    Errors: ``ValueError`` for an archive that is damaged or holds anything but arrays of numbers.
    """
    with zipfile.ZipFile(file) as archive:
        return {
            member.filename.removesuffix(".npy"): _read_array(archive, member)
            for member in list_members(archive)
        }


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    """Reads an array whose header says exactly as many bytes as follow it."""
    with archive.open(member) as opened:
        version = np.lib.format.read_magic(opened)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{member.filename} is an array file of version {version}, not (1, 0) or (2, 0)")
        read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        shape, fortran, dtype = read_header(opened)
        if dtype.kind not in "fiub" or any(side < 0 for side in shape):
            raise ValueError(f"{member.filename} holds {dtype} of shape {shape}, no numbers")
        length = member.file_size - opened.tell()
        if prod(shape) * dtype.itemsize != length:
            raise ValueError(f"{member.filename} holds {length} bytes, its header says {shape} of {dtype}")
        content = bytearray()
        while taken := opened.read(CHUNK):  # to the end, where the checksum is compared
            content += taken
    if len(content) != length:
        raise ValueError(f"{member.filename} holds fewer bytes than it says")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
