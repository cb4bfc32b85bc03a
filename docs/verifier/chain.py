"""Follows the chain of a run from its genesis file; no node is believed. docs/gates.md, sections 4 and 5."""
import functools
import re
import struct
from collections import namedtuple

import records
from container import sha3
from statements import verifies

NETWORKS = {"devnet": (0, "DEV"), "testnet": (1, "TST"), "mainnet": (2, "MAIN")}
NETS = [net for _, net in NETWORKS.values()]
SUITE = 100
MEMBERS_MAX, BATCHES_MAX, TRANSACTIONS_MAX = 256, 64, 10_000
REGISTRY = b"QBIND validator registry account"
REF = struct.Struct("<QHQ32s")
verify_once = functools.lru_cache(1 << 12)(verifies)


class Wrong(ValueError):
    """An encoding or what it says breaks a rule."""


class NotJudged(Exception):
    """A block above a break, whose validators are not known."""


def tag(net, kind):
    return f"QBIND:{net}:{kind}:v1".encode()


class Reader:
    """Reads borsh fields off an encoding."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if count > len(self.data) - self.at:
            raise Wrong("truncated encoding")
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "little")

    def u64(self):
        return self.number(8)

    def hash(self):
        return self.take(32)

    def key(self):
        return self.take(1312)

    def signature(self):
        return self.take(2420)

    def many(self, item):
        return [item() for _ in range(self.number(4))]

    def choice(self, count):
        """The place of a variant of an enumeration."""
        found = self.number(1)
        if found >= count:
            raise Wrong("a tag that is not listed")
        return found

    def option(self, item):
        return item() if self.choice(2) else None

    def signed(self):
        """Index and signature."""
        return self.number(2), self.signature()

    def ref(self):
        return Ref(*REF.unpack(self.take(REF.size)))

    def end(self):
        if self.at != len(self.data):
            raise Wrong("bytes after the end")


class Ref(namedtuple("Ref", "epoch creator round id")):
    """A BatchRef."""

    def enc(self):
        return REF.pack(*self)


class Block:
    """A Block, or a BlockHeader, which has the digest of its batches in their place."""

    def __init__(self, r, header=False):
        start = r.at
        self.network = r.choice(len(NETS))
        self.epoch, self.height, self.view = r.u64(), r.u64(), r.u64()
        self.parent, self.proposer, self.time = r.hash(), r.number(2), r.u64()
        self.executed_height, self.executed_root = r.u64(), r.hash()
        head, start = r.data[start:r.at], r.at
        if header:
            self.batches, listed = None, r.hash()
        else:
            self.batches = r.many(r.ref)
            listed = sha3(tag(NETS[self.network], "BLOCK_BATCHES"), r.data[start:r.at])
        start = r.at
        self.next_validators = r.option(r.hash)
        self.header = head + listed + r.data[start:r.at]
        self.id = sha3(tag(NETS[self.network], "BLOCK"), self.header)


Member = namedtuple("Member", "id address keys power")


class Validators:
    """A ValidatorSet that holds its rules."""

    def __init__(self, epoch, members, total=None):
        ids, keys = [m.id for m in members], [key for m in members for key in m.keys]
        power = sum(m.power for m in members)
        if not (1 <= len(members) <= MEMBERS_MAX and ids == sorted(set(ids)) and len(set(keys)) == len(keys)
                and all(m.power > 0 for m in members) and power < 1 << 64 and total in (None, power)):
            raise Wrong("not a set of validators")
        self.epoch, self.members, self.total = epoch, members, power
        self.quorum = 2 * power // 3 + 1

    def enc(self):
        """The encoding, for the id of the set; the first of two keys is the public key."""
        rows = [struct.pack("<Q", m.id) + m.address + m.keys[0] + (b"\1" + m.keys[1] if m.keys[1:] else b"\0")
                + struct.pack("<Q", m.power) for m in self.members]
        return struct.pack("<QI", self.epoch, len(rows)) + b"".join(rows) + struct.pack("<Q", self.total)

    def leader(self, view):
        return view % len(self.members)

    def signed(self, index, signature, message):
        """Whether a signature is a member's own."""
        return index < len(self.members) and any(verify_once(key, signature, message)
                                                 for key in self.members[index].keys)

    def certify(self, votes, message):
        """Whether the signers of a certificate are right; `message` gives the bytes each signs."""
        signers = [index for index, _ in votes]
        return (signers == sorted(set(signers)) and all(i < len(self.members) for i in signers)
                and sum(self.members[i].power for i in signers) >= self.quorum
                and all(self.signed(index, signature, message(index)) for index, signature in votes))


def read_validators(data):
    r = Reader(data)

    def member():
        number, address, key, previous, power = r.u64(), r.hash(), r.key(), r.option(r.key), r.u64()
        return Member(number, address, (key, previous) if previous else (key,), power)

    epoch, members, total = r.u64(), r.many(member), r.u64()
    r.end()
    return Validators(epoch, members, total)


def read_genesis(files):
    """The genesis file and its validators; raises Wrong if it is absent or breaks its rules."""
    genesis = records.whole(files, "genesis.json", records.GENESIS)
    if genesis is None:
        raise Wrong("genesis.json: absent or damaged")
    rows = sorted(genesis["validators"], key=lambda v: v["id"])
    return genesis, Validators(0, [Member(v["id"], v["address"], (v["pqc_public_key"],), v["stake"]) for v in rows])


# Payloads of transactions.

Payload = namedtuple("Payload", "kind recipient amount gas_limit price call")
Call = namedtuple("Call", "kind fields")
ROTATE, JOIN, LEAVE, REPORT = range(4)
PROPOSALS, VOTES, COMMIT_DENIED, INVALID_BLOCK, LAZY_VOTE, BATCHES, REFERENCES = range(7)
EVIDENCE_MAX = (6144, 6144, 6144, 4096, 10240, 51200, 20480)
CALL_MAX, REPORT_MAX = 1416, 20553


def read_evidence(r):
    """The variant of an Evidence and its fields."""
    phase, vote = lambda: r.choice(2), lambda: (r.hash(), r.signature())
    header, batch = lambda: (Block(r, header=True), r.signature()), lambda: (r.ref(), r.signature())
    index = lambda: r.number(2)
    forms = ((header, header), (phase, r.u64, r.u64, index, vote, vote),
             (r.u64, index, r.u64, r.hash, r.signature, r.u64, r.u64, r.signature), (header,),
             (phase, r.u64, r.u64, index, lambda: Block(r, header=True), r.signature), (batch, batch),
             (lambda: Block(r), r.signature))
    kind = r.choice(len(forms))
    return kind, [form() for form in forms[kind]]


def read_call(data):
    r = Reader(data)
    forms = ((r.u64, lambda: r.choice(3), r.key, r.u64, r.u64, lambda: r.choice(2)), (r.u64, r.key), (r.u64,),
             (lambda: read_evidence(r),))
    kind = r.choice(len(forms))
    fields = [form() for form in forms[kind]]
    r.end()
    if kind == REPORT and len(data) - 1 > EVIDENCE_MAX[fields[0][0]]:
        raise Wrong("evidence too long")
    return Call(kind, fields)


def read_payload(data):
    """What a payload asks for; raises Wrong if it is malformed."""
    size = len(data)
    if size == 48:
        return Payload("V0", data[:32], int.from_bytes(data[32:], "big"), None, None, None)
    if size < 72:
        raise Wrong("of no known length")
    recipient, amount = data[:32], int.from_bytes(data[32:48], "big")
    gas, price = int.from_bytes(data[48:56], "big"), int.from_bytes(data[56:72], "big")
    if size == 72:
        return Payload("V1", recipient, amount, gas, price, None)
    if recipient != REGISTRY or size > (REPORT_MAX if data[72] == REPORT else CALL_MAX):
        raise Wrong("no call, or too long")
    return Payload("call", recipient, amount, gas, price, read_call(data[72:]))


Transaction = namedtuple("Transaction", "id sender nonce size payload key")


class Linked:
    """A block of the chain, whether it is whole, its transactions and owner."""

    def __init__(self, block, is_whole, transactions, owner):
        self.block, self.whole, self.transactions, self.owner = block, is_whole, transactions, owner


class Chain:
    """What following the chain found."""

    def __init__(self, files, common):
        self.files, self.common = files, common
        self.genesis, first = read_genesis(files)
        self.net = NETWORKS[self.genesis["network"]][1]
        self.sets = {0: first}
        self.no_set = set()
        self.blocks = []        # the chain, from height 1
        self.unbroken = True
        self.seen = set()       # batch ids referenced so far
        self.votes = {}         # (epoch, view, index) to block id, of verified certificates
        self.verified = self.references = 0
        self.missing_blocks, self.bad_blocks, self.double_votes = [], [], []
        self.missing_batches, self.bad_references = [], []
        self._follow()

    def _follow(self):
        stored = {int(found[1]) for name in self.files.under("blocks")
                  if (found := re.fullmatch(r"blocks/([0-9]{10})\.borsh", name))
                  and self.files.index[name][1] <= records.FILE_MAX}
        last = 0
        for height in sorted(stored - {0}):
            self._gap(last + 1, height - 1)
            self._height(height)
            last = height
        self._gap(last + 1, self.common)

    def _gap(self, first, last):
        """Heights without a file."""
        if first <= last:
            self.unbroken = False
            if first <= self.common:
                self.missing_blocks.append(first)

    def _height(self, height):
        tip = self.blocks[-1].block if self.blocks else None
        epoch = tip.epoch + bool(tip.next_validators) if tip else 0
        if self.unbroken and epoch in self.no_set:
            self.missing_blocks.append(height)
            self.unbroken = False
            return
        try:
            block, members = self._check(height, epoch, tip)
        except NotJudged:
            self.missing_blocks += [height] if height <= self.common else []
            return
        except Wrong as error:
            self.bad_blocks.append(f"blocks/{height:010}.borsh: {error}")
            self.unbroken = False
            return
        if self.unbroken and block.next_validators:
            self._next_set(block.epoch + 1, block.next_validators)
        parts = [self._reference(height, ref, members) for ref in block.batches]
        if self.unbroken:
            transactions = [t for part in parts for t in part or ()]
            owner = members.members[block.proposer].address
            self.blocks.append(Linked(block, None not in parts, transactions, owner))

    def _check(self, height, epoch, tip):
        """Checks a block; gives it and its validators, or raises Wrong."""
        r = Reader(records.raw(self.files, f"blocks/{height:010}.borsh"))
        block, descendants = Block(r), r.many(lambda: Block(r))
        cert_epoch, view, target, votes = r.u64(), r.u64(), r.hash(), r.many(r.signed)
        r.end()
        members = self.sets.get(block.epoch)
        if members is None:
            raise (Wrong if self.unbroken else NotJudged)("the validators of its epoch are not known")
        for one in (block, *descendants):
            if not (NETS[one.network] == self.net and one.epoch == block.epoch and len(one.batches) <= BATCHES_MAX
                    and one.proposer == members.leader(one.view) and one.height > 0 and one.view >= one.height
                    and one.executed_height < one.height):
                raise Wrong("breaks a rule of blocks")
        last = block
        for one in descendants:
            if one.parent != last.id or one.height != last.height + 1 or one.view <= last.view:
                raise Wrong("a descendant does not follow")
            last = one
        if (cert_epoch, view, target) != (last.epoch, last.view, last.id):
            raise Wrong("the certificate is of another block")
        message = tag(self.net, "COMMIT") + struct.pack("<QQ", cert_epoch, view) + target
        if not members.certify(votes, lambda _: message):
            raise Wrong("the certificate does not hold")
        self.verified += 1
        for index, _ in votes:
            if self.votes.setdefault((cert_epoch, view, index), target) != target:
                self.double_votes.append(f"blocks/{height:010}.borsh: a second vote of index {index}")
        if block.height != height:
            raise Wrong("of another height")
        if self.unbroken:
            parent, view = (tip.id, tip.view) if tip else (sha3(records.raw(self.files, "genesis.json")), 0)
            if block.epoch != epoch or block.parent != parent or block.view <= view:
                raise Wrong("does not follow the block before")
        return block, members

    def _next_set(self, epoch, named):
        data = records.raw(self.files, f"validators/{epoch:010}.borsh")
        try:
            found = read_validators(data or b"")
            if found.epoch != epoch or sha3(tag(self.net, "VALIDATORS"), data) != named:
                raise Wrong("another set")
            self.sets[epoch] = found
        except Wrong:
            self.no_set.add(epoch)

    def _reference(self, height, ref, members):
        """The transactions of a reference, None if it is bad or its batch missing."""
        self.references += 1
        name, is_new = f"batches/{ref.id.hex()}.borsh", ref.id not in self.seen
        self.seen.add(ref.id)
        data = records.raw(self.files, name) if is_new else None
        if is_new and data is None:
            self.missing_batches.append(f"{name}: missing, referenced at height {height}")
            return None
        try:
            if not is_new:
                raise Wrong("referenced before")
            return self._batch(data, ref, members)
        except Wrong as error:
            self.bad_references.append(f"{name}: {error}, referenced at height {height}")
            return None

    def _batch(self, data, ref, members):
        r = Reader(data)
        head, start = r.take(18), r.at
        parents = r.many(r.ref)
        parents_bytes = r.data[start:r.at]
        raw = r.many(lambda: self._transaction(r))
        signature, certificate, acks = r.signature(), r.ref(), r.many(r.signed)
        r.end()
        made = sha3(tag(self.net, "BATCH_ID"), head, parents_bytes, struct.pack("<Q", len(raw)), *(t[0] for t in raw))
        if head != ref.enc()[:18] or made != ref.id or certificate != ref:
            raise Wrong("not the batch of its reference")
        if ref.epoch != members.epoch or len(raw) > TRANSACTIONS_MAX or len(parents) > len(members.members):
            raise Wrong("breaks a rule of batches")
        if not members.signed(ref.creator, signature, tag(self.net, "BATCH") + ref.enc()):
            raise Wrong("not signed by its creator")
        out = []
        for identity, message, sender, nonce, payload, suite, key, signature in raw:
            if suite != SUITE or sender != sha3(b"QBIND:ACCOUNT:v1", key) or not verifies(key, signature, message):
                raise Wrong("a transaction not signed by its sender")
            out.append(Transaction(identity, sender, nonce, len(payload), read_payload(payload), key))
        if not members.certify(acks, lambda i: tag(self.net, "BATCH_ACK") + ref.enc() + struct.pack("<H", i)):
            raise Wrong("its certificate does not hold")
        return out

    def _transaction(self, r):
        start = r.at
        sender, nonce, payload, suite = r.hash(), r.u64(), r.take(r.number(4)), r.number(2)
        message = tag(self.net, "TX") + r.data[start:r.at]
        return sha3(message), message, sender, nonce, payload, suite, r.key(), r.signature()
