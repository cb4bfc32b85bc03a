"""Runs the transactions of the chain again. docs/gates.md, section 7."""
from dataclasses import dataclass, field

import chain as c
from container import sha3

SKIPPED, SUCCESS, FAILED = "skipped", "success", "failed"
GAS_MAX = 30_000_000
STRIDE_WORK = 40_000_000
ELECTED_KEPT, EVENTS_MAX, AHEAD_MAX = 8, 256, 100_000
O1, O2, O3A, O4, O5 = "O1", "O2", "O3a", "O4", "O5"
EMPTY = b"SPARSE_MERKLE_PLACEHOLDER_HASH__"
PROPOSER_BPS = {"devnet": 0, "testnet": 0, "mainnet": 5000}


class Broken(Exception):
    """The replay ends: money appeared, vanished, or another set was named."""


class Stuck(Exception):
    """What a block does cannot be known."""


@dataclass
class Validator:
    """A validator of the registry; `next` is (key, from, grace, by the owner's emergency)."""
    owner: bytes
    key: bytes
    stake: int
    bond: int
    new: bool = False
    leaving: bool = False
    next: tuple | None = None


@dataclass
class Registry:
    """Who validates, and what is owed to whom."""
    epoch_blocks: int
    net: str
    elected: int = 0
    least: int = 0
    owed: list = field(default_factory=list)
    validators: dict = field(default_factory=dict)
    sets: dict = field(default_factory=dict)
    events: dict = field(default_factory=dict)

    def held(self, owner):
        """What the registry holds for an owner."""
        return (sum(v.bond for v in self.validators.values() if v.owner == owner)
                + sum(amount for who, amount in self.owed if who == owner))

    def used(self, key):
        return any(key == v.key or v.next and key == v.next[0] for v in self.validators.values())

    def may(self, more):
        moving = sum(v.stake for v in self.validators.values() if v.new or v.leaving)
        return moving + more <= sum(v.stake for v in self.validators.values() if not v.new) // 4

    def call(self, transaction, payload):
        """Whether a call is taken; if it is, it has its effect."""
        take = (self.rotate, self.join, self.leave, self.report)[payload.call.kind]
        return take(transaction, payload.amount, *payload.call.fields)

    def rotate(self, transaction, amount, number, role, key, start, grace, kind):
        v, earliest, is_emergency = self.validators.get(number), self.elected + 1, kind == 1
        if is_emergency:
            start, grace = earliest, 0
        if amount or v is None or role != 0 or self.used(key):
            return False
        is_owner = transaction.sender == v.owner
        if not (is_owner or not is_emergency and transaction.key == v.key):
            return False
        if start < earliest or start - earliest > AHEAD_MAX or grace > AHEAD_MAX:
            return False
        if v.next and not (is_owner and is_emergency and not v.next[3]):
            return False
        v.next = (key, start, grace, is_emergency)
        return True

    def join(self, transaction, amount, number, key):
        stakes = sum(v.stake for v in self.validators.values())
        if not (self.least <= amount < 1 << 63 and number not in self.validators
                and all(m.id != number for s in self.sets.values() for m in s.members)
                and all(v.owner != transaction.sender for v in self.validators.values())
                and not self.used(key) and len(self.validators) < c.MEMBERS_MAX and stakes + amount < 1 << 64
                and self.may(amount)):
            return False
        self.validators[number] = Validator(transaction.sender, key, amount, amount, new=True)
        return True

    def leave(self, transaction, amount, number):
        v, everyone = self.validators.get(number), self.validators.values()
        if (amount or v is None or v.owner != transaction.sender or v.leaving
                or sum(not other.leaving for other in everyone) < 2):
            return False
        alone = not any(other.new or other.leaving for other in everyone) and (
            2 * v.stake < sum(other.stake for other in everyone if not other.new))
        if not (v.new or alone or self.may(v.stake)):
            return False
        v.leaving = True
        return True

    def report(self, _, amount, evidence):
        if amount:
            return False
        proved = prove(self.net, self.sets, *evidence)
        if not proved:
            return False
        epoch, number, offence, event = proved
        events = self.events.setdefault((epoch, number, offence), set())
        if event in events or len(events) >= EVENTS_MAX:
            return False
        events.add(event)
        return True

    def election(self, block):
        """Pays what is owed and fixes the next set, if the block ends its epoch. Gives the payments."""
        epoch = block.epoch + 1
        if not (self.elected < epoch and block.height >= self.epoch_blocks * epoch):
            return []
        self.elected, paid = epoch, self.owed
        self.owed = [(v.owner, v.bond) for v in self.validators.values() if v.leaving]
        self.validators = {number: v for number, v in self.validators.items() if not v.leaving}
        members = []
        for number, v in sorted(self.validators.items()):
            v.new, keys = False, (v.key,)
            if v.next and epoch >= v.next[1]:
                key, start, grace, _ = v.next
                keys = (key, v.key)
                if not grace or epoch > start + grace:
                    v.key, v.next, keys = key, None, (key,)
            members.append(c.Member(number, v.owner, keys, v.stake))
        self.sets[epoch] = c.Validators(epoch, members)
        oldest = epoch - ELECTED_KEPT + 1
        self.sets = {e: s for e, s in self.sets.items() if e >= oldest}
        self.events = {key: events for key, events in self.events.items() if key[0] >= oldest}
        return paid


def prove(net, sets, kind, fields):
    """(epoch, validator id, offence, event) that the evidence proves, or None."""
    phases = ("VOTE", "COMMIT")
    sign = lambda what, *parts: c.tag(net, what) + b"".join(
        part.to_bytes(8, "little") if isinstance(part, int) else part for part in parts)
    signed = []     # (signature, message): each by the accused
    if kind in (c.PROPOSALS, c.INVALID_BLOCK, c.REFERENCES):
        if kind == c.REFERENCES:
            fields = [tuple(fields)]
        first = fields[0][0]
        epoch, index, event = first.epoch, first.proposer, first.view
        signed = [(signature, sign("PROPOSAL", header.id)) for header, signature in fields]
    elif kind == c.VOTES:
        phase, epoch, event, index, *votes = fields
        signed = [(signature, sign(phases[phase], epoch, event, block)) for block, signature in votes]
    elif kind == c.COMMIT_DENIED:
        epoch, index, event, block, commit, given_up, high, timeout = fields
        signed = [(commit, sign("COMMIT", epoch, event, block)), (timeout, sign("TIMEOUT", epoch, given_up, high))]
    elif kind == c.LAZY_VOTE:
        phase, epoch, event, index, header, signature = fields
        signed = [(signature, sign(phases[phase], epoch, event, header.id))]
    else:
        first = fields[0][0]
        epoch, index, event = first.epoch, first.creator, first.round
        signed = [(signature, sign("BATCH", ref.enc())) for ref, signature in fields]
    members = sets.get(epoch)
    if members is None or index >= len(members.members):
        return None

    def no_block(header):
        return (c.NETS[header.network] != net
                or header.epoch == epoch and header.proposer != members.leader(header.view)
                or header.height == 0 or header.view < header.height or header.executed_height >= header.height)

    def bad_references(block):
        last = {}
        for ref in block.batches:
            if (ref.epoch != block.epoch or ref.creator >= len(members.members)
                    or ref.round != last.get(ref.creator, ref.round - 1) + 1):
                return True
            last[ref.creator] = ref.round
        return len(block.batches) > c.BATCHES_MAX

    if kind == c.PROPOSALS:
        one, two = fields[0][0], fields[1][0]
        holds = ((one.epoch, one.view, one.proposer) == (two.epoch, two.view, two.proposer)
                 and one.header != two.header)
    elif kind == c.VOTES:
        holds = votes[0][0] != votes[1][0]
    elif kind == c.COMMIT_DENIED:
        holds = given_up >= event > high
    elif kind == c.INVALID_BLOCK:
        holds = no_block(fields[0][0])
    elif kind == c.LAZY_VOTE:
        holds = (header.epoch, header.view) != (epoch, event) or no_block(header)
    elif kind == c.BATCHES:
        one, two = fields[0][0], fields[1][0]
        holds = one[:3] == two[:3] and one.id != two.id
    else:
        holds = bad_references(fields[0][0])
    if not holds or not all(members.signed(index, signature, message) for signature, message in signed):
        return None
    return epoch, members.members[index].id, (O1, O1, O1, O2, O3A, O4, O5)[kind], event


def put(node, key, leaf, depth=0):
    """The tree with a leaf; a node is (hash, key) or (hash, None, left, right)."""
    if node is None or node[1] == key:
        return leaf, key
    if node[1]:
        children = [None, None]
        children[bit(node[1], depth)] = node
    else:
        children = list(node[2:])
    side = bit(key, depth)
    children[side] = put(children[side], key, leaf, depth + 1)
    return (sha3(b"JMT::IntrnalNode", *(child[0] if child else EMPTY for child in children)), None, *children)


def bit(key, depth):
    return key[depth >> 3] >> (7 - (depth & 7)) & 1


def state_root(accounts_root, system_root):
    return sha3(b"QBIND:STATE:v1", accounts_root, system_root)


class Replay:
    """What running the leading whole blocks gives."""

    def __init__(self, chain, reports_known):
        genesis = chain.genesis
        self.network, self.reports_known = genesis["network"], reports_known
        self.accounts, self.touched, self.dirty = {}, set(), set()
        self.tree = None
        self.statuses, self.roots = {}, {}      # by height
        self.burned = self.supply = 0
        self.broken = self.stuck = None
        blocks = []
        for linked in chain.blocks:
            if not linked.whole:
                break
            blocks.append(linked)
        try:
            self._genesis(genesis, chain)
            for linked in blocks:
                self._block(linked, len(blocks), linked is blocks[-1])
        except Broken as error:
            self.broken = str(error)
        except Stuck as error:
            self.stuck = str(error)

    @property
    def accounted(self):
        return sum(balance for _, balance in self.accounts.values()) + self.burned

    def credit(self, address, amount):
        if amount:
            nonce, balance = self.accounts.get(address, (0, 0))
            self._set(address, nonce, balance + amount)

    def _set(self, address, nonce, balance):
        if balance >= 1 << 128:
            raise Broken("a balance of 2^128")
        self.accounts[address] = nonce, balance
        self.dirty.add(address)

    def _genesis(self, genesis, chain):
        self.lockups = {}
        for row in genesis["allocations"]:
            if row["address"] in self.accounts:
                raise Broken("genesis.json: an address twice")
            self._set(row["address"], 0, row["amount"])
            self.lockups[row["address"]] = row["lockup_until_unix_ms"] or 0, row["amount"]
            self.supply += row["amount"]
        if self.supply >= 1 << 128:
            raise Broken("genesis.json: a supply of 2^128")
        members = chain.sets[0].members
        self.registry = Registry(max(1, genesis["epoch_blocks"]), chain.net, least=min(m.power for m in members),
                                 sets={0: chain.sets[0]})
        for m in members:
            nonce, balance = self.accounts.get(m.address, (0, 0))
            if balance < m.power:
                raise Broken("genesis.json: a stake nobody has")
            self._set(m.address, nonce, balance - m.power)
            self.registry.validators[m.id] = Validator(m.address, m.keys[0], m.power, m.power)
        self._set(c.REGISTRY, 0, chain.sets[0].total)

    def _keep(self, address, time):
        """What an owner must keep in a block of this time."""
        until, amount = self.lockups.get(address, (0, 0))
        return max(0, amount - self.registry.held(address)) if time < until else 0

    def _plan(self, transactions):
        """Which transactions are to run, by gas and nonce alone."""
        left, closed, nonces, out = GAS_MAX, False, {}, []
        for t in transactions:
            p, gas, price = t.payload, 0, 0
            if self.network == "devnet":
                fits = p.kind == "V0"
            else:
                fits = p.kind != "V0"
                if fits:
                    gas, price = 21_000 + 7_600 * (1 if p.recipient == t.sender else 2) + 16 * t.size, p.price
                    fits = gas <= p.gas_limit <= GAS_MAX and price > 0
            following = nonces.get(t.sender, self.accounts.get(t.sender, (0, 0))[0])
            runs = (fits and not closed and t.nonce == following and t.nonce < (1 << 64) - 1
                    and gas * price < 1 << 128)
            if runs and gas > left:
                runs, closed = False, True
            if runs:
                left -= gas
                nonces[t.sender] = following + 1
            out.append(gas * price if runs else None)
        return out

    def _run(self, t, fee, keep):
        """Runs one transaction; gives its status."""
        nonce, balance = self.accounts.get(t.sender, (0, 0))
        pays = lambda balance, amount: balance >= amount and balance - amount >= keep
        if t.nonce != nonce or not pays(balance, fee):
            self.touched.add(t.sender)
            return SKIPPED
        balance -= fee
        self._set(t.sender, nonce + 1, balance)
        if self.network == "devnet":
            return SUCCESS
        if not pays(balance, t.payload.amount):
            return FAILED
        self._set(t.sender, nonce + 1, balance - t.payload.amount)
        self.credit(t.payload.recipient, t.payload.amount)
        return SUCCESS

    def _block(self, linked, whole, is_last):
        block, transactions = linked.block, linked.transactions
        if not self.reports_known and any(t.payload.call and t.payload.call.kind == c.REPORT for t in transactions):
            raise Stuck(f"height {block.height}: a report, and not every node only records it")
        stride = 2 * len(self.accounts.keys() | self.touched) * whole // STRIDE_WORK + 1
        keep = {address: self._keep(address, block.time) for address in self.lockups
                if block.time < self.lockups[address][0]}
        reward, statuses, bps = 0, [], PROPOSER_BPS[self.network]
        for t, fee in zip(transactions, self._plan(transactions)):
            status = SKIPPED if fee is None else self._run(t, fee, keep.get(t.sender, 0))
            if status != SKIPPED:
                part = fee // 10_000 * bps + fee % 10_000 * bps // 10_000
                reward, self.burned = reward + part, self.burned + fee - part
            statuses.append(status)
        for place, t in enumerate(transactions):
            if statuses[place] == SUCCESS and t.payload.call and not self.registry.call(t, t.payload):
                statuses[place] = FAILED
                self._take(t.payload.amount)
                self.credit(t.sender, t.payload.amount)
        for owner, amount in self.registry.election(block):
            self._take(amount)
            self.credit(owner, amount)
        self.credit(linked.owner, reward)
        self.statuses[block.height] = statuses
        elected = self.registry.sets.get(block.epoch + 1)
        if block.next_validators and (elected is None or block.next_validators != sha3(
                c.tag(self.registry.net, "VALIDATORS"), elected.enc())):
            raise Broken(f"height {block.height}: names validators nobody elected")
        if block.height % stride == 0 or is_last:
            self.roots[block.height] = self._root()

    def _take(self, amount):
        nonce, balance = self.accounts[c.REGISTRY]
        if balance < amount:
            raise Broken("the registry owes more than it holds")
        if amount:
            self._set(c.REGISTRY, nonce, balance - amount)

    def _root(self):
        for address in self.dirty:
            nonce, balance = self.accounts[address]
            key = sha3(b"acct:", address)
            value = sha3(nonce.to_bytes(8, "big") + balance.to_bytes(16, "big"))
            self.tree = put(self.tree, key, sha3(b"JMT::LeafNode", key, value))
        self.dirty.clear()
        return self.tree[0] if self.tree else EMPTY
