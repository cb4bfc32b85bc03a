"""Follows the chain of a bundle from its genesis file: validators, blocks, certificates, batches, transfers.

Encodings are borsh: little-endian integers, lists with a 32-bit count, options with one byte. Everything is
checked with the keys of genesis and of the sets that certified blocks name; no node is believed.
"""
import struct

from container import Refused, sha3
from statements import parse, verifies

TAGS = {"devnet": (0, "DEV"), "testnet": (1, "TST"), "mainnet": (2, "MAIN")}
REF = struct.Struct("<QHQ32s")  # epoch, creator, round, batch id


class Reader:
    """Reads fields off an encoding."""

    def __init__(self, name, data):
        self.name, self.data, self.at = name, data, 0

    def take(self, count):
        if count > len(self.data) - self.at:
            raise Refused(f"{self.name}: truncated encoding")
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "little")

    def many(self, item):
        return [item() for _ in range(self.number(4))]

    def option(self, item):
        flag = self.number(1)
        if flag > 1:
            raise Refused(f"{self.name}: not an option")
        return item() if flag else None

    def signed(self):
        """Validator index and signature."""
        return self.number(2), self.take(2420)

    def end(self):
        if self.at != len(self.data):
            raise Refused(f"{self.name}: bytes after the end")


class Block:
    """One block; its id is the hash of its header."""

    def __init__(self, reader, network):
        start = reader.at
        if reader.number(1) != TAGS[network][0]:
            raise Refused(f"{reader.name}: of another network")
        self.epoch, self.height, self.view = (reader.number(8) for _ in range(3))
        self.parent, self.proposer, self.time = reader.take(32), reader.number(2), reader.number(8)
        self.executed = reader.number(8), reader.take(32)
        head = reader.data[start:reader.at]
        start = reader.at
        self.batches = reader.many(lambda: reader.take(REF.size))
        batches = reader.data[start:reader.at]
        start = reader.at
        self.next_validators = reader.option(lambda: reader.take(32))
        tag = f"QBIND:{TAGS[network][1]}"
        inner = sha3(f"{tag}:BLOCK_BATCHES:v1".encode(), batches)
        self.id = sha3(f"{tag}:BLOCK:v1".encode(), head, inner, reader.data[start:reader.at])


def genesis_set(genesis):
    """Validators of epoch 0 in index order: keys and stake of each."""
    rows = sorted(genesis["validators"], key=lambda v: v["id"])
    return [((bytes.fromhex(v["pqc_public_key"].removeprefix("0x")),), int(v["stake"])) for v in rows]


def read_set(name, data, epoch):
    """Validators of a later epoch from their encoding."""
    r = Reader(name, data)

    def member():
        r.take(8 + 32)
        keys = (r.take(1312), r.option(lambda: r.take(1312)))
        return tuple(k for k in keys if k), r.number(8)

    found, members, total = r.number(8), r.many(member), r.number(8)
    r.end()
    if found != epoch or total != sum(power for _, power in members):
        raise Refused(f"{name}: another epoch, or a wrong sum of stakes")
    return members


def certified(members, votes, message):
    """Whether distinct signers, ascending, hold a quorum and every signature is right. `message` is bytes, or
    gives the bytes each signer signs."""
    signers = [index for index, _ in votes]
    if signers != sorted(set(signers)) or any(i >= len(members) for i in signers):
        return False
    total = sum(power for _, power in members)
    if sum(members[i][1] for i in signers) < total * 2 // 3 + 1:
        return False
    return all(any(verifies(key, sig, message(i) if callable(message) else message) for key in members[i][0])
               for i, sig in votes)


class Chain:
    """What following the chain found. `problems` belong to gates: G1 blocks, G2 references, G3 transfers."""

    def __init__(self, files):
        self.files = files
        raw = files.read("genesis.json")
        self.genesis = parse("genesis.json", raw)
        self.network = self.genesis["network"]
        self.tag = f"QBIND:{TAGS[self.network][1]}:"
        self.problems = {"G1": [], "G2": [], "G3": []}
        self.ids, self.roots = {}, {}     # height to block id; height to certified state root
        self.transfers = {}               # height to [(transaction id, sender, nonce)]
        self.references = 0
        self.gap = None                   # why the chain could be followed no further
        try:
            self._follow(sha3(raw))
        except Refused as error:
            self.gap = str(error)

    def _tagged(self, kind, *parts):
        return (self.tag + kind + ":v1").encode() + b"".join(parts)

    def _follow(self, parent):
        epoch, members, view, seen = 0, genesis_set(self.genesis), 0, set()
        for number, name in enumerate(self.files.under("blocks"), 1):
            if name == "blocks/index.jsonl":
                continue
            r = Reader(name, self.files.read(name))
            block = Block(r, self.network)
            descendants = r.many(lambda: Block(r, self.network))
            if name != f"blocks/{number:010}.borsh" or block.height != number:
                raise Refused(f"{name}: height {number} is missing or misnamed")
            if (block.parent, block.epoch) != (parent, epoch) or block.view <= view:
                self.problems["G1"].append(f"{name}: does not follow the block before")
            if not self._committed(r, block, descendants, members):
                self.problems["G1"].append(f"{name}: no valid commit certificate")
            self.ids[number] = block.id
            if self.roots.setdefault(block.executed[0], block.executed[1]) != block.executed[1]:
                self.problems["G1"].append(f"{name}: another state root for height {block.executed[0]}")
            self.transfers[number] = [t for ref in block.batches for t in self._batch(name, ref, epoch, members, seen)]
            parent, view = block.id, block.view
            if block.next_validators:
                epoch += 1
                members = self._next_set(epoch, block.next_validators) or members

    def _next_set(self, epoch, expected):
        name = f"validators/{epoch:010}.borsh"
        if name not in self.files:
            return None  # nothing follows, or what follows will not verify
        data = self.files.read(name)
        if sha3(self._tagged("VALIDATORS"), data) != expected:
            raise Refused(f"{name}: not the set its epoch's election named")
        return read_set(name, data, epoch)

    def _committed(self, r, block, descendants, members):
        epoch, view, target = r.number(8), r.number(8), r.take(32)
        votes = r.many(r.signed)
        r.end()
        last = block
        for child in descendants:
            if child.parent != last.id or child.epoch != block.epoch or child.height != last.height + 1:
                return False
            last = child
        if (epoch, view, target) != (block.epoch, last.view, last.id):
            return False
        return certified(members, votes, self._tagged("COMMIT", struct.pack("<QQ", epoch, view), target))

    def _batch(self, block, ref, epoch, members, seen):
        """Checks one reference against its certified batch; returns the batch's transfers."""
        of_epoch, creator, round_, batch_id = REF.unpack(ref)
        name = f"batches/{batch_id.hex()}.borsh"
        self.references += 1
        if name not in self.files:
            self.problems["G2"].append(f"{name}: missing, referenced by {block}")
            return []
        r = Reader(name, self.files.read(name))
        head = r.take(18)
        start = r.at
        r.many(lambda: r.take(REF.size))
        parents = r.data[start:r.at]
        transfers = r.many(lambda: self._transfer(r))
        signature, certificate, acks = r.take(2420), r.take(REF.size), r.many(r.signed)
        r.end()
        count = struct.pack("<Q", len(transfers))
        made = sha3(self._tagged("BATCH_ID"), head, parents, count, *(t[0] for t in transfers))
        sound = (made == batch_id and head == ref[:18] and certificate == ref and of_epoch == epoch and ref not in seen
                 and creator < len(members)
                 and any(verifies(key, signature, self._tagged("BATCH", ref)) for key in members[creator][0])
                 and certified(members, acks, lambda i: self._tagged("BATCH_ACK", ref, struct.pack("<H", i))))
        seen.add(ref)
        if not sound:
            self.problems["G2"].append(f"{name}: not a certified batch of its reference in {block}")
        return transfers

    def _transfer(self, r):
        start = r.at
        sender, nonce, payload, suite = r.take(32), r.number(8), r.take(r.number(4)), r.number(2)
        signed = self._tagged("TX", r.data[start:r.at])
        key, signature = r.take(1312), r.take(2420)
        if sender != sha3(b"QBIND:ACCOUNT:v1", key) or suite != 100 or not verifies(key, signature, signed):
            self.problems["G3"].append(f"{r.name}: a transfer not signed by its sender")
        return sha3(signed), sender, nonce
