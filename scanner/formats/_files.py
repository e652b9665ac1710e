"""Bytes of a source, whatever it is compressed with: the head for sniffing, the whole for reading.

An uncompressed file is memory-mapped. Decompressed bytes live in memory up to SPOOL_BYTES, beyond that in a
temporary file without a name, which vanishes with the process. Archives are only ever read, never unpacked to disk.
"""

from __future__ import annotations

import gzip
import mmap
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np

from scanner.errors import EmptyError, FormatError, InputError
from scanner.mapped import mapped
from scanner.objects import Source, UInt8

HEAD_BYTES = 1 << 20
BLOCK_BYTES = 1 << 20
SPOOL_BYTES = 256 << 20
_ZSTD_BLOCK = 1 << 11  # packed bytes at a time: small, so that a bomb bursts piece by piece
BOM = b"\xef\xbb\xbf"
_MAGIC = ((b"\x1f\x8b", "gz"), (b"\x28\xb5\x2f\xfd", "zst"), (b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"))
UNREAD = {
    ".bz2": "bunzip2",
    ".xz": "unxz",
    ".lz4": "unlz4",
    ".7z": "7z x",
    ".rar": "unrar x",
    ".tar": "tar xf",
    ".tgz": "tar xf",
}
"""Packings that are not read, and what unpacks them."""
SUFFIXES = {".gz": "gz", ".gzip": "gz", ".zst": "zst", ".zstd": "zst", ".zip": "zip"}


def compression_of(path: Path) -> str:
    """How a file is packed: see `packing_of`."""
    with opened(path) as file:
        return packing_of(file.read(4))


def packing_of(first: bytes) -> str:
    """Say "gz", "zst", "zip" or nothing, by the first bytes; the name plays no part."""
    return next((kind for magic, kind in _MAGIC if first.startswith(magic)), "")


def plain_name(name: str) -> str:
    """A file name without its compression suffix: "a.jsonl.gz" -> "a.jsonl"."""
    suffix = Path(name).suffix.lower()
    return name[: -len(suffix)] if suffix in SUFFIXES else name


def extension(name: str) -> str:
    """The format's suffix in lower case, with the dot, compression left out: "a.JSONL.gz" -> ".jsonl"."""
    return Path(plain_name(name)).suffix.lower()


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file open for reading; what the system refuses is said as InputError."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; expected a data file, a folder or a pattern") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}; expected a readable file") from None
    with file:
        yield file


@contextmanager
def stream(path: Path, compression: str, member: str = "") -> Iterator[IO[bytes]]:
    """The decompressed bytes of a file or archive member; broken archives are said as FormatError."""
    name = f"{path.name}/{member}" if member else path.name
    with opened(path) as file:
        try:
            if compression == "gz":
                with gzip.GzipFile(fileobj=file) as inner:
                    yield cast("IO[bytes]", inner)
            elif compression == "zst":
                yield cast("IO[bytes]", _ZstdReader(file))
            elif compression == "zip":
                with zipfile.ZipFile(file) as archive, archive.open(member) as inner:
                    yield inner
            else:
                yield file
        except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, NotImplementedError) as error:
            raise FormatError(_broken(name, compression, error)) from None
        except Exception as error:
            if type(error).__name__ == "ZstdError":
                raise FormatError(_broken(name, compression, error)) from None
            raise


class _ZstdReader:
    """Frames of a Zstandard file, one after another; EOFError where the last one is cut short.

    zstandard's own stream_reader ends quietly in the middle of a frame.
    """

    def __init__(self, file: IO[bytes]):
        import zstandard

        self._decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
        self._file = file
        self._frame = self._decompressor.decompressobj()
        self._plain = b""
        self._at = 0

    def read(self, size: int) -> bytes:
        while self._at == len(self._plain):
            packed = self._frame.unused_data if self._frame.eof else b""
            packed = packed or self._file.read(_ZSTD_BLOCK)
            if self._frame.eof:
                if not packed:
                    return b""
                self._frame = self._decompressor.decompressobj()
            elif not packed:
                raise EOFError
            self._plain, self._at = self._frame.decompress(packed), 0
        part = self._plain[self._at : self._at + size]
        self._at += len(part)
        return part


def _broken(name: str, compression: str, error: Exception) -> str:
    return (
        f"{name}: the {compression or 'file'} data are cut short or damaged ({type(error).__name__}); expected a "
        "complete archive; fetch or compress the file again"
    )


def zip_members(path: Path) -> dict[str, int]:
    """Files in an archive by sorted name, with their packed bytes.

    Encrypted members and names that lead outside the archive are refused.
    """
    with opened(path) as file:
        try:
            archive = zipfile.ZipFile(file)
        except zipfile.BadZipFile as error:
            raise FormatError(_broken(path.name, "zip", error)) from None
        with archive:
            infos = [i for i in archive.infolist() if not i.is_dir() and not _is_clutter(i.filename)]
    for info in infos:
        parts = info.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or parts[0].endswith(":"):
            raise FormatError(
                f"{path.name}: holds a member whose name leads outside the archive; expected plain relative names; "
                "do not trust this archive, or pack it again"
            )
        if info.flag_bits & 1:
            raise FormatError(
                f"{path.name}: is encrypted, and passwords are not supported; expected a plain zip; unpack it first"
            )
    return {i.filename: i.compress_size for i in sorted(infos, key=lambda i: i.filename)}


def _is_clutter(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) and part != ".." for part in name.split("/"))


def head(path: Path, compression: str, member: str = "") -> bytes:
    """The first megabyte, decompressed."""
    with stream(path, compression, member) as file:
        return _read_up_to(file, HEAD_BYTES)


def _read_up_to(file: IO[bytes], size: int) -> bytes:
    parts, got = [], 0
    while got < size and (part := file.read(size - got)):
        parts.append(part)
        got += len(part)
    return b"".join(parts)


def content(source: Source, limit: int) -> UInt8:
    """The whole decompressed source, read-only; InputError where it is empty, FormatError beyond `limit` bytes."""
    if not source.compression:
        with opened(source.path) as file:
            data = mapped(file, source.path)
    else:
        data = _decompressed(source, limit)
    if not len(data):
        raise EmptyError(f"{source.name}: the file is empty, expected at least one record; leave it out")
    _refuse_utf16(source, data)
    return data


def _decompressed(source: Source, limit: int) -> UInt8:
    # subtle: the spooled file has no name on disk once it leaves memory, so nothing private can be left behind
    with (
        stream(source.path, source.compression, source.member) as file,
        tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool,
    ):
        got = 0
        while part := file.read(BLOCK_BYTES):
            got += len(part)
            if got > limit:
                raise FormatError(
                    f"{source.name}: decompresses to more than {limit:,} bytes; expected less, since a small archive "
                    "can hold endless zeros; if you trust it, raise max-decompressed-bytes in a scan.toml beside it"
                )
            spool.write(part)
        if got <= SPOOL_BYTES:
            spool.seek(0)
            return np.frombuffer(spool.read(), np.uint8)
        spool.flush()
        return np.frombuffer(mmap.mmap(spool.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def is_utf16(first: bytes) -> bool:
    """Whether text begins as UTF-16 does: with its byte order mark, or with every other byte 0."""
    if first[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    odd, even = first[1:4:2], first[0:4:2]
    return len(first) >= 4 and ((odd == b"\0\0" and all(even)) or (even == b"\0\0" and all(odd)))


def _refuse_utf16(source: Source, data: UInt8) -> None:
    first = data[:4].tobytes()
    if is_utf16(first):
        found = "UTF-32" if first == b"\xff\xfe\0\0" else "UTF-16"
        if first[:2] not in (b"\xff\xfe", b"\xfe\xff"):  # without a mark nobody knows its order of bytes but who looks
            found += "LE" if first[0] else "BE"
        raise FormatError(
            f"{source.name}: is encoded as {found}, expected UTF-8; convert it with `iconv -f {found} -t UTF-8 OLD > "
            "NEW`"
        )
