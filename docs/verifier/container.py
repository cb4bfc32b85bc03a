"""Reads the container of a bundle: one zstd frame, the seal, and a strict tar archive inside.

Derived from docs/evidence.md, section "Container". The contents go into one unnamed temporary file, so
no name of the bundle ever reaches the file system.
"""
import hashlib
import os
import re
import tempfile

import zstandard

FILES_MAX = 500_000
NAMES_MAX = 64 << 20
FILE_MAX = 4 << 30
TOTAL_MAX = 32 << 30
WINDOW_MAX = 1 << 24
RATIO_MAX = 1_000
RATIO_FREE = 32 << 20
WHOLE_MAX = 256 << 20  # what is parsed in one piece; keeps memory bounded
LINE_MAX = 1 << 20
SEAL = bytes.fromhex("522a4d1820000000")
NAME = re.compile(r"[a-z0-9._/-]+")
# docs/evidence.md refers to rehearsal/evidence/src/layout.rs for the complete list.
TOP_FILES = set("""attestation.dsse.json baseline.json checklist.md controls.json environment.json facts.json
gates.json genesis.json journal.jsonl junit.xml manifest.json map.json metrics.om plan.dsse.json plan.yaml
report.html report.json report.md summary.json test-result.dsse.json topology.yaml upgrade-checklist.md
validators.json waivers.json""".split())
FOLDERS = set("""batches blocks commits config controls faults links load logs map measure peers scrapes series
sign-offs status steps transactions validators""".split())


class Refused(Exception):
    """The bundle breaks a rule; the text names the file at fault first."""


def sha3(*parts):
    """SHA3-256 of the concatenation."""
    digest = hashlib.sha3_256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def check_name(name):
    """Refuses a name outside the profile."""
    if not NAME.fullmatch(name) or any(part in ("", ".", "..") for part in name.split("/")):
        raise Refused(f"{name!r}: not a name of the profile")
    top, slash, _ = name.partition("/")
    if top not in (FOLDERS if slash else TOP_FILES):
        raise Refused(f"{name}: starts with no known file or folder")


def header(name, size):
    """The one ustar header of a name and a size."""
    raw, prefix = name.encode(), b""
    if len(raw) > 100:
        cut = raw.rfind(b"/", 0, 156)
        prefix, raw = raw[:max(cut, 0)], raw[cut + 1:]
        if cut < 1 or len(raw) > 100:
            raise Refused(f"{name}: too long for ustar")
    block = bytearray(512)
    for at, value in ((0, raw), (100, b"0000644\0"), (108, b"0000000\0"), (116, b"0000000\0"),
                      (124, b"%011o\0" % size), (136, b"00000000000\0"), (148, b" " * 8), (156, b"0"),
                      (257, b"ustar\x0000"), (329, b"0000000\0"), (337, b"0000000\0"), (345, prefix)):
        block[at:at + len(value)] = value
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


class Files:
    """The files of a bundle: name to place, size and digest, over one temporary file."""

    def __init__(self):
        self.spill = tempfile.TemporaryFile()
        self.index, self.name_bytes = {}, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.spill.close()

    def __contains__(self, name):
        return name in self.index

    def size(self, name):
        return self.index[name][1]

    def under(self, folder):
        """Names in a folder, sorted."""
        return [name for name in self.index if name.startswith(folder + "/")]

    def read(self, name):
        """The bytes of a file that is parsed in one piece."""
        if name not in self.index:
            raise Refused(f"{name}: missing")
        at, size, _ = self.index[name]
        if size > WHOLE_MAX:
            raise Refused(f"{name}: {size} bytes are too many to parse")
        return os.pread(self.spill.fileno(), size, at)

    def lines(self, name):
        """The lines of a file, one at a time, without their line feeds."""
        if name not in self.index:
            raise Refused(f"{name}: missing")
        at, size, _ = self.index[name]
        rest, end = b"", at + size
        while at < end:
            chunk = os.pread(self.spill.fileno(), min(1 << 16, end - at), at)
            at += len(chunk)
            *whole, rest = (rest + chunk).split(b"\n")
            if len(rest) > LINE_MAX:
                raise Refused(f"{name}: a line is longer than 1 MiB")
            yield from whole
        if rest:
            raise Refused(f"{name}: does not end in a line feed")


def frame_end(file, size):
    """Walks the blocks of the first zstd frame (RFC 8878, 3.1.1) and gives the place after it."""
    head = file.read(14)
    if len(head) < 14 or head[:4] != b"\x28\xb5\x2f\xfd":
        raise Refused("container: does not begin with a zstd frame")
    flags, at = head[4], 5
    single = flags >> 5 & 1
    if not flags & 4 or flags & 3 or flags & 8:
        raise Refused("container: the frame has no content checksum, or names a dictionary")
    length = (single, 2, 4, 8)[flags >> 6]
    if single:
        window = int.from_bytes(head[at:at + length], "little") + (256 if length == 2 else 0)
    else:
        window = (8 + (head[at] & 7) << 10 + (head[at] >> 3)) // 8
        at += 1
    if window > WINDOW_MAX:
        raise Refused(f"container: window of {window} bytes, at most {WINDOW_MAX}")
    at += length
    last = 0
    while not last:
        file.seek(at)
        word = int.from_bytes(file.read(3), "little")
        last, kind, count = word & 1, word >> 1 & 3, word >> 3
        if kind == 3:
            raise Refused("container: a block of unknown type")
        at += 3 + (1 if kind == 1 else count)
        if at + 4 > size:
            raise Refused("container: truncated inside the frame")
    return at + 4


class Frame:
    """The bytes of the frame alone, for the decompressor."""

    def __init__(self, file, end):
        self.file, self.left = file, end
        file.seek(0)

    def read(self, count):
        chunk = self.file.read(min(count, self.left))
        self.left -= len(chunk)
        return chunk


def check_seal(file, end, size):
    """The seal is a digest of all before it, and nothing follows."""
    file.seek(end)
    seal = file.read(41)
    if len(seal) < 40 or seal[:8] != SEAL:
        raise Refused("container: truncated, or something stands between frame and seal")
    if size != end + 40:
        raise Refused("container: data after the seal")
    digest, frame = hashlib.sha256(), Frame(file, end)
    while chunk := frame.read(1 << 20):
        digest.update(chunk)
    if digest.digest() != seal[8:40]:
        raise Refused("container: the seal does not match, a byte was changed")


class Archive:
    """The decompressed bytes, with the limit on their ratio."""

    def __init__(self, file, end):
        engine = zstandard.ZstdDecompressor(max_window_size=WINDOW_MAX)
        self.stream = engine.stream_reader(Frame(file, end), read_size=1 << 16)
        self.out, self.most = 0, max(RATIO_FREE, end * RATIO_MAX)

    def read(self, count):
        try:
            data = self.stream.read(count)
        except zstandard.ZstdError as error:
            raise Refused(f"container: {error}") from None
        self.out += len(data)
        if self.out > self.most:
            raise Refused("container: more than 1,000 bytes out for one byte in")
        return data

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.read(count - len(data))
            if not more:
                raise Refused("archive: truncated")
            data += more
        return data


def read_member(archive, block, files, last, total):
    """Checks one header against the one of its name and size, then spills the content."""
    name = (block[345:500].rstrip(b"\0") + b"/" if block[345] else b"") + block[:100].rstrip(b"\0")
    name = name.decode("ascii", "backslashreplace")
    check_name(name)
    if not re.fullmatch(rb"[0-7]{11}\0", block[124:136]):
        raise Refused(f"{name}: its size is not 11 octal digits")
    size = int(block[124:135], 8)
    if block != header(name, size):
        raise Refused(f"{name}: not the header of the profile")
    if last is not None and name <= last:
        raise Refused(f"{name}: " + ("stands twice" if name == last else f"out of order, after {last}"))
    if any(name[:slash.start()] in files.index for slash in re.finditer("/", name)):
        raise Refused(f"{name}: lies in what is a file")
    files.name_bytes += len(name)
    if size > FILE_MAX or total + size > TOTAL_MAX or len(files.index) >= FILES_MAX or files.name_bytes > NAMES_MAX:
        raise Refused(f"{name}: beyond the limits of number or size")
    digest, at, left = hashlib.sha3_256(), files.spill.tell(), size
    while left:
        data = archive.exactly(min(left, 1 << 18))
        digest.update(data)
        files.spill.write(data)
        left -= len(data)
    if any(archive.exactly(-size % 512)):
        raise Refused(f"{name}: padding that is not zero")
    files.index[name] = (at, size, digest.hexdigest())
    return name, total + size


def fill(files, path):
    """Streams a bundle into `files`, or raises `Refused`."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        end = frame_end(file, size)
        check_seal(file, end, size)
        archive, last, total = Archive(file, end), None, 0
        while any(block := archive.exactly(512)):
            last, total = read_member(archive, block, files, last, total)
        if any(archive.exactly(512)) or archive.read(1):
            raise Refused("archive: does not end with two zero blocks")
        files.spill.flush()
