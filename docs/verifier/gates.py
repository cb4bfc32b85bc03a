"""Works every gate out again from the raw files of a bundle. docs/gates.md, sections 1 and 8.

A gate is a generator of findings: (FAIL, INVALID or UNKNOWN, why). Without findings it passes.
"""
from collections import Counter, defaultdict
from functools import cached_property

import added
import records
import statements
from chain import Chain, Wrong, read_genesis
from container import Refused, sha3
from network import (NotRecomputed, bootstrap, classify, latency_floor, loss_interval, percentile,
                     read_measurement)
from replay import SKIPPED, SUCCESS, Replay, state_root
from run import (ASN, CONNECTED, EQUIVOCATIONS, FAIL, INVALID, MISMATCH, OUTBOUND, PASS, TIME_MAX, UNKNOWN, VIEW,
                 VIEW_CHANGES, VIOLATIONS, Run, word)

AGREES, DIFFERS, NOT = "AGREES", "DIFFERS", "NOT RECOMPUTED"
SOFT = {"G9", "G10"}
STEPS = ("t185", "t222", "t221", "t223", "t234", "t236", "t238")
FAULT_LENGTH_MIN_MS = 5_000
LEAD_MS = 2_000             # a transfer due so long before a cut of its node does not count
LOAD, LOAD_SLACK_MS = "qbind.load/v1", 5_000
DATAGRAMS_MIN = 500


class Evidence(Run):
    """A run with its chain, replay and measured network."""

    @cached_property
    def chain(self):
        """The chain, None without one."""
        try:
            return Chain(self.files, self.common)
        except Wrong:
            return None

    @cached_property
    def added(self):
        """The gates the plan adds, by id."""
        return {gate["id"]: gate for gate in self.plan["added_gates"]} if self.plan else {}

    @cached_property
    def replay(self):
        return Replay(self.chain, all(self.mode(node, "slashing_mode") == "record-only" for node in self.nodes))

    @cached_property
    def measurement(self):
        """(measurement fault or None, matrix or None)."""
        return read_measurement(self.files, [region["id"] for region in self.plan["regions"]])

    @property
    def matrix(self):
        return self.measurement[1]

    @cached_property
    def floor(self):
        return latency_floor(self.matrix, self.validators)

    @cached_property
    def load_last(self):
        return min(self.end, self.summary["started_unix_ms"] + self.summary["window_ms"])

    @cached_property
    def latencies(self):
        """Latencies in microseconds of the transfers that count, by block of the bootstrap."""
        blocks, summary = defaultdict(list), self.summary
        for t in self.transfers if summary else ():
            last = 1000 * max(0, summary["ended_unix_ms"] - summary["started_unix_ms"])
            until = {"lost": last, "unanswered": last}.get(t["fate"])
            if t["fate"] in ("committed", "duplicated") and t["committed_us"] is not None:
                until = min(t["committed_us"], last)
            due = summary["started_unix_ms"] + t["scheduled_us"] // 1000
            if (until is not None and self.warm <= due <= self.load_last
                    and not self.overlaps(t["node"], due, due + LEAD_MS)):
                blocks[due // (1000 * self.bounds["bootstrap_block_s"])].append(max(0, until - t["scheduled_us"]))
        return [blocks[number] for number in sorted(blocks)]

    @cached_property
    def as_planned(self):
        """Whether the load was what the plan asks for."""
        s, rate, window = self.summary, self.plan["load"]["rate_per_second"], self.plan["live"]["window_s"]
        due = sorted((t["n"], t["scheduled_us"]) for t in self.transfers)
        return (s is not None and (s["schema"], s["rate_per_second"], s["window_ms"]) == (LOAD, rate, 1000 * window)
                and abs(s["started_unix_ms"] - self.start) <= LOAD_SLACK_MS
                and s["started_unix_ms"] <= s["ended_unix_ms"] <= TIME_MAX
                and due == [(n, n * 1_000_000 // rate) for n in range(rate * window)])

    def latency(self, thousandths):
        """The interval of a percentile, None without enough transfers."""
        if not self.as_planned or sum(map(len, self.latencies)) < self.bounds["latency_samples_min"]:
            return None
        return bootstrap(self.plan, self.latencies, lambda values: percentile(values, thousandths))

    @cached_property
    def seconds(self):
        """Commits in each second of the window without a cut, in order."""
        if not self.summary:
            return []
        start = self.summary["started_unix_ms"]
        done = Counter((start + t["committed_us"] // 1000) // 1000 for t in self.transfers
                       if t["committed_us"] is not None)
        return [done[s] for s in range(-(-self.warm // 1000), self.load_last // 1000)
                if not self.cut_any(1000 * s) and not self.cut_any(1000 * s + 999)]


def judge(interval, most):
    """Findings of an interval against an upper bound."""
    if interval and interval[0] > most:
        yield FAIL, f"{interval[0]} to {interval[1]}, at most {most}"
    elif interval and interval[1] > most:
        yield UNKNOWN, f"{interval[0]} to {interval[1]}, at most {most}"


def some(finding, found):
    """A finding if something was found; names the first few."""
    if found:
        yield finding, "; ".join(map(str, list(found)[:3]))


def g1(run):
    checks, ids = 0, defaultdict(set)
    for node in run.nodes:
        feed = run.feeds.get(node)
        if feed is None or not feed.tip:
            yield UNKNOWN, f"{node}: no commits"
            continue
        if feed.changed:
            yield FAIL, f"{node}: changed a height"
        if len(feed.commits.keys() - {0}) < feed.tip:
            yield UNKNOWN, f"{node}: a height without commit"
        if not run.window_fault and not feed.knows(run.end - run.bounds["scrape_gap_max_ms"]):
            yield UNKNOWN, f"{node}: not followed to the end"
    for feed in run.feeds.values():
        for height, row in feed.commits.items():
            checks += height in ids
            ids[height].add(row["block_id"])
    yield from some(FAIL, [f"height {height}: two blocks" for height, found in ids.items() if len(found) > 1])
    for node in run.nodes:
        calm = False
        for scrape in run.scrapes[node]:
            violations = scrape.scalar(VIOLATIONS)
            for value, what in ((scrape.sum(EQUIVOCATIONS), "equivocations"), (violations, "violations")):
                if value is None:
                    yield UNKNOWN, f"{node}: {what} without value"
                elif value:
                    yield FAIL, f"{node}: {value} {what}"
            calm |= violations == 0
        if not calm:
            yield UNKNOWN, f"{node}: violations never scraped"
    chain = run.chain
    if chain is None:
        yield UNKNOWN, "no chain"
    else:
        checks += chain.verified
        yield from some(FAIL, chain.bad_blocks + chain.double_votes)
        yield from some(UNKNOWN, [f"height {height}: block missing" for height in chain.missing_blocks])
        yield from some(FAIL, [f"height {linked.block.height}: not the block of the chain" for linked in chain.blocks
                               if ids.get(linked.block.height, set()) - {linked.block.id}])
    if not checks:
        yield UNKNOWN, "nothing checked"


def g2(run):
    checks, chain = 0, run.chain
    for node in run.nodes:
        for scrape in run.scrapes[node]:
            value = scrape.scalar(MISMATCH)
            checks += value is not None
            if value is None:
                yield UNKNOWN, f"{node}: mismatches without value"
            elif value:
                yield FAIL, f"{node}: {value} mismatches"
        if not run.window_fault and run.hole(node):
            yield UNKNOWN, f"{node}: a hole in the scrapes"
    if chain is None:
        yield UNKNOWN, "no chain"
    else:
        checks += chain.references
        yield from some(FAIL, chain.bad_references)
        yield from some(UNKNOWN, chain.missing_batches + chain.missing_blocks + chain.bad_blocks)
    if not checks:
        yield UNKNOWN, "nothing checked"


def coverage(run):
    """What G3 and G4 ask before they rest on the replay."""
    if run.chain is None:
        yield UNKNOWN, "no chain"
    else:
        replayed = len(run.replay.statuses)
        if not replayed or replayed < run.common:
            yield UNKNOWN, f"{replayed} blocks replayed of {run.common}"
        yield from some(UNKNOWN, [run.replay.stuck] if run.replay.stuck else [])
    yield from some(UNKNOWN, [f"{node}: no commits" for node in run.nodes if not run.tip(node)])


def g3(run):
    yield from coverage(run)
    checks = 0
    if run.chain is not None:
        used, blocks, statuses = set(), {}, run.replay.statuses
        for linked in run.chain.blocks[:len(statuses)]:
            blocks[linked.block.height] = linked.transactions
            for t, status in zip(linked.transactions, statuses[linked.block.height]):
                if status != SKIPPED:
                    checks += 1
                    if (t.sender, t.nonce) in used:
                        yield FAIL, f"height {linked.block.height}: nonce {t.nonce} used twice"
                    used.add((t.sender, t.nonce))
        for node in run.nodes:
            claims, spent = run.claims[node], set()
            if claims is None:
                yield UNKNOWN, f"{node}: no claims"
                continue
            for line in claims:
                if line["height"] not in blocks:
                    continue
                transactions = blocks[line["height"]]
                if (line["ids_sha3"] != "0x" + sha3(*(t.id for t in transactions)).hex()
                        or len(line["success"].encode()) != len(transactions)):
                    yield UNKNOWN, f"{node}: claims of height {line['height']} are about other transactions"
                    continue
                for t, claim in zip(transactions, line["success"]):
                    checks += 1
                    if claim == "1":
                        if (t.sender, t.nonce) in spent:
                            yield FAIL, f"{node}: nonce {t.nonce} used twice at height {line['height']}"
                        spent.add((t.sender, t.nonce))
            claimed = {line["height"] for line in claims} - {0}
            if len(claimed) < max(claimed, default=0):
                yield UNKNOWN, f"{node}: no claims of some height"
            if max(claimed, default=0) < min(len(statuses), run.tip(node)):
                yield UNKNOWN, f"{node}: claims end early"
    if not run.transfers:
        yield UNKNOWN, "no transfers recorded"
    if run.summary is None:
        yield UNKNOWN, "no summary of the load"
    elif run.summary["duplicated"]:
        yield FAIL, f"{run.summary['duplicated']} duplicated"
    yield from some(FAIL, [f"transfer {t['n']}: duplicated" for t in run.transfers if t["fate"] == "duplicated"])
    if not checks:
        yield UNKNOWN, "nothing checked"


def g4(run):
    yield from coverage(run)
    checks = sum(len(feed.commits) for feed in run.feeds.values())
    if run.chain is not None:
        replay = run.replay
        if replay.broken:
            yield FAIL, replay.broken
        if replay.accounted != replay.supply:
            yield FAIL, f"{replay.accounted} accounted for of {replay.supply}"
        known = float("inf")
        if any(run.mode(node, "monetary_mode") == "active" for node in run.nodes):
            yield UNKNOWN, "money is issued"
            known = max(1, run.chain.genesis["epoch_blocks"]) - 1
        roots = {height: root for height, root in replay.roots.items() if height <= known}
        for linked in run.chain.blocks:
            height = linked.block.executed_height
            said = [run.feeds[node].commits[height] for node in sorted(run.feeds)
                    if height in run.feeds[node].commits]
            if height in roots and said:
                checks += 1
                if state_root(roots[height], said[0]["system_root"]) != linked.block.executed_root:
                    yield FAIL, f"height {linked.block.height}: carries another root of height {height}"
        for node, feed in run.feeds.items():
            for height, row in feed.commits.items():
                if height in roots:
                    checks += 1
                    if state_root(roots[height], row["system_root"]) != row["state_root"]:
                        yield FAIL, f"{node}: another root at height {height}"
        for node in run.nodes:
            for line in run.claims[node] or ():
                if line["height"] <= known:
                    for status, claim in zip(replay.statuses.get(line["height"], ()), line["success"]):
                        if (claim == "1") != (status == SUCCESS):
                            yield FAIL, f"{node}: claims another outcome at height {line['height']}"
    said = defaultdict(set)
    for feed in run.feeds.values():
        for height, row in feed.commits.items():
            said[height].add(row["state_root"])
    yield from some(FAIL, [f"height {height}: two state roots" for height, found in said.items() if len(found) > 1])
    if not checks:
        yield UNKNOWN, "nothing checked"


def measurement(run):
    """The finding of a gate that rests on the measurement."""
    fault, _ = run.measurement
    if fault:
        yield fault


def g5(run):
    yield from measurement(run)
    kind = classify(run.matrix) if run.matrix is not None else "Invalid"
    is_normal = kind in ("Uniform", "Asymmetric", "HighJitter")
    bound = run.bounds["height_divergence_normal_blocks" if is_normal else "height_divergence_stress_blocks"]
    if kind == "Invalid":
        yield UNKNOWN, "the network is of no class"
    feeds, align = {}, run.bounds["align_ms"]
    for node in run.nodes:
        if not run.tip(node):
            yield UNKNOWN, f"{node}: no commits"
            continue
        feed = feeds[node] = run.feeds[node]
        if feed.withholds or max(feed.backdated, feed.postdated) > align:
            yield UNKNOWN, f"{node}: contradicts our own clock"
        if run.gap(node, [at for at in feed.polls if run.start <= at <= run.end]):
            yield UNKNOWN, f"{node}: its feed is silent for too long"
    if len(feeds) < 2:
        yield UNKNOWN, "fewer than two nodes to compare"
        return
    spreads = []
    for at in range(run.start, run.end + 1, align):
        heights = []
        for node, feed in feeds.items():
            if not run.cut(node, at):
                if feed.knows(at):
                    heights.append(feed.height(at))
                else:
                    yield UNKNOWN, f"{node}: its height at {at} is not known"
        if len(heights) > 1:
            spreads.append(max(heights) - min(heights))
    yield from some(FAIL, [f"{spread} blocks apart, at most {bound}" for spread in spreads if spread > bound])
    if not spreads:
        yield UNKNOWN, "nothing to compare"
    ends = [feed.height(run.end) for feed in feeds.values() if feed.knows(run.end)]
    if ends and max(ends) - min(ends) > bound:
        yield FAIL, f"{max(ends) - min(ends)} blocks apart at the end"
    quarter = len(spreads) // 4
    first, last = sum(spreads[:quarter]), sum(spreads[len(spreads) - quarter:])
    if quarter and 2 * last > 2 * first + bound * quarter:
        yield FAIL, "ever further apart"
    top = lambda at: max(feed.height(at) for feed in feeds.values())
    if top(run.end) == top(run.start):
        yield FAIL, "no progress"
    for plan, done in run.faults:
        begin, healed = done["from_unix_ms"], done["healed_unix_ms"]
        ready = healed + plan["recovery_ms"]
        if plan["expectation"] == "continues":
            stands = healed - begin >= FAULT_LENGTH_MIN_MS and top(healed) <= top(begin)
        else:
            stands = ready <= run.end and top(ready) == top(healed)
        if stands:
            yield FAIL, f"{plan['id']}: no progress"


def peer_body(value):
    """(address, direction) of each peer."""
    form = records.record({"peers": records.many(records.record({"address": records.text, "direction": records.text},
                                                                more=True))}, more=True)
    return [(peer["address"], peer["direction"]) for peer in form(value)["peers"]]


def g6(run):
    b, others = run.bounds, len(run.nodes) - 1
    for node in run.nodes:
        if run.hole(node):
            yield UNKNOWN, f"{node}: a hole in the scrapes"
        counted = [scrape for scrape in run.window_scrapes(node, run.warm) if not run.cut(node, scrape.at)]
        if not counted:
            yield UNKNOWN, f"{node}: no scrape counts"
        for scrape in counted:
            gone = run.others_absent(node, scrape.at)
            for name, least in ((OUTBOUND, b["outbound_peers_min"] - gone),
                                (CONNECTED, min(b["outbound_target"], others, others - gone)),
                                (ASN, b["asn_diversity_min"])):
                value = scrape.scalar(name)
                if value is None:
                    yield UNKNOWN, f"{node}: {name} without value"
                elif max(0, value) < max(0, least):
                    yield FAIL, f"{node}: {name} {value}, at least {least}"
    by_ip = {ip_of(node["http"]): node["name"] for node in run.plan["nodes"]}
    if len(by_ip) < len(run.nodes):
        yield UNKNOWN, "plan.yaml: two nodes have one IP"
    lists = {}
    for node in run.nodes:
        for line in records.lines(run.files, f"peers/{node}.jsonl", records.ANSWER) or ():
            if run.start <= line["at_unix_ms"] <= run.end and not run.cut_any(line["at_unix_ms"]):
                try:
                    lists[node] = [(name, way) for address, way in peer_body(line["body"])
                                   if (name := by_ip.get(ip_of(address))) not in (None, node)]
                except records.Damaged:
                    pass
        if node not in lists:
            yield UNKNOWN, f"{node}: no list of peers"
    for node, peers in lists.items():
        outbound = {name for name, way in peers if way == "outbound"}
        known = [name for name in outbound if name not in lists or any(node == other for other, _ in lists[name])]
        if len(known) < b["outbound_peers_min"]:
            yield FAIL, f"{node}: {len(known)} outbound peers know it"


def ip_of(address):
    return address.rpartition(":")[0]


def g7(run):
    b, rate = run.bounds, run.plan["load"]["rate_per_second"]
    found = list(baselines(run))
    base = min(found, key=lambda one: abs(one["offered_tps"] - rate), default=None)
    if base is None or 10 * abs(base["offered_tps"] - rate) > rate:
        yield UNKNOWN, "no baseline at this load"
        return
    yield from measurement(run)
    if run.matrix is None:
        return
    interval = run.latency(500)
    if run.floor is None or interval is None:
        yield UNKNOWN, "no floor, or too few transfers"
        return
    seconds, length = run.seconds, b["bootstrap_block_s"]
    if len(seconds) < b["tps_seconds_min"]:
        yield UNKNOWN, f"{len(seconds)} seconds without a fault"
    else:
        blocks = [seconds[at:at + length] for at in range(0, len(seconds), length)]
        tps = bootstrap(run.plan, blocks, lambda values: sum(values) * 1000 // len(values))
        least = base["tps_milli"] * b["tps_min_permille"] // 1000
        if tps[0] < least:
            yield (FAIL if tps[1] < least else UNKNOWN), f"{tps[0]} to {tps[1]} milli TPS, at least {least}"
    yield from judge(interval, (base["p50_us"] + run.floor) * b["latency_max_permille"] // 1000)


BASELINE = {"offered_tps": 1 << 64, "p50_us": 3_600_000_000, "tps_milli": 10**12}


def baselines(run):
    """The baselines of T234 that can be compared with."""
    result = records.whole(run.files, "steps/t234/result.json", records.free)
    for scenario in listed(result, "scenarios"):
        facts = scenario.get("facts") if isinstance(scenario, dict) else None
        base = facts.get("baseline") if isinstance(facts, dict) else None
        if isinstance(base, dict) and all(type(base.get(key)) is int and 0 <= base[key] < most
                                          for key, most in BASELINE.items()):
            yield base


def listed(value, key):
    """The list under a key, empty if there is none."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def g8(run):
    yield from some(FAIL, [f"transfer {t['n']}: lost" for t in run.transfers if t["fate"] == "lost"])
    if run.summary:
        if run.summary["offered"] != len(run.transfers):
            yield UNKNOWN, f"{len(run.transfers)} transfers recorded of {run.summary['offered']}"
        if 100 * run.summary["late_sends"] > run.summary["offered"]:
            yield UNKNOWN, f"{run.summary['late_sends']} sent late"
    if run.chain is not None:
        ids = {x.block.height: {t.id for t in x.transactions} for x in run.chain.blocks if x.whole}
        yield from some(FAIL, [f"transfer {t['n']}: not at height {t['height']}" for t in run.transfers
                               if t["height"] in ids and t["committed_us"] is not None
                               and t["id"] not in ids[t["height"]]])
    interval = run.latency(990)
    if interval is None:
        yield UNKNOWN, "too few transfers"
    yield from judge(interval, 1000 * run.bounds["commit_p99_max_ms"] - 1)


def g9(run):
    yield from measurement(run)
    if run.matrix is None:
        return
    worst = max((-(-1000 * p["lost"] // p["sent"]) for p in run.matrix.values()), default=0)
    rate = run.bounds["view_changes_base_permille"] + 3 * worst
    extra = run.bounds["view_changes_per_fault"] * len(run.plan["faults"])
    for node in run.nodes:
        pairs = changes = views = 0
        before = None
        for scrape in run.window_scrapes(node, run.start):
            now = scrape.scalar(VIEW_CHANGES), scrape.scalar(VIEW)
            if None in now:
                yield UNKNOWN, f"{node}: view changes without value"
                continue
            now = scrape.at, *(max(0, value) for value in now)
            if before and not run.overlaps(node, before[0], now[0]) and now[1] >= before[1] and now[2] >= before[2]:
                pairs, changes, views = pairs + 1, changes + now[1] - before[1], views + now[2] - before[2]
            before = now
        if not pairs:
            yield UNKNOWN, f"{node}: nothing to compare"
        elif changes > views * rate // 1000 + extra:
            yield FAIL, f"{node}: {changes} changes in {views} views"


def g10(run):
    yield from measurement(run)
    if run.matrix is None:
        return
    interval = run.latency(500)
    if run.floor is None or interval is None:
        yield UNKNOWN, "no floor, or too few transfers"
        return
    yield from judge(interval, run.floor * run.bounds["floor_max_permille"] // 1000)


def g11(run):
    journal = records.lines(run.files, "journal.jsonl", records.JOURNAL)
    noted, failed = {}, set()
    for record in journal or ():
        data = record["data"] if record["kind"] == records.STEP_DONE and isinstance(record["data"], dict) else {}
        if isinstance(data.get("id"), str) and isinstance(data.get("result_sha3"), str):
            noted[data["id"].lower()] = data["result_sha3"].lower()
        if isinstance(data.get("id"), str) and data.get("verdict") != "PASS":
            failed.add(data["id"].lower())
    for step in STEPS:
        if step in failed:
            yield FAIL, f"journal.jsonl: a run of {step} did not pass"
        name = f"steps/{step}/result.json"
        result = records.whole(run.files, name, records.free)
        if result is None:
            yield UNKNOWN, f"{name}: absent"
        elif step not in noted:
            yield UNKNOWN, f"journal.jsonl: no digest of {step}"
        elif noted[step] != "0x" + sha3(run.files.read(name)).hex():
            yield FAIL, f"{name}: not the digest of the journal"
        if result is not None:
            yield from list(one_step(result, step))[:1]


def one_step(result, step):
    """Findings of one step; the first holds."""
    said = result if isinstance(result, dict) else {}
    if said.get("schema") != "qbind.step/v1" or str(said.get("id")).lower() != step:
        yield UNKNOWN, f"{step}: the result of another step"
    checks = 0
    for scenario in listed(said, "scenarios"):
        for check in listed(scenario, "checks"):
            checks += 1
            if not isinstance(check, dict) or check.get("ok") is not True:
                yield FAIL, f"{step}: a check does not hold"
        if not isinstance(scenario, dict) or scenario.get("verdict") != PASS:
            yield FAIL, f"{step}: a scenario did not pass"
    if said.get("verdict") != PASS:
        yield FAIL, f"{step}: did not pass"
    if not checks:
        yield UNKNOWN, f"{step}: nothing checked"


def above_zero(value):
    return type(value) is int and value > 0


CONFIG = {
    "enable_discovery": lambda value, _: value is True, "anti_eclipse_enforce": lambda value, _: value is True,
    "dag_coupling_mode": lambda value, network: word(value) in ("enforce", "warn")[:1 + (network != "mainnet")],
    **dict.fromkeys(("mempool_max_txs_per_sender", "mempool_max_bytes_per_sender",
                     "mempool_eviction_max_per_interval"), lambda value, _: above_zero(value)),
    "mempool_eviction_mode": lambda value, _: word(value) == "enforce",
    "monetary_mode": lambda value, _: word(value) == "shadow",
    "slashing_mode": lambda value, _: word(value) == "record-only",
    "genesis_path": lambda value, _: isinstance(value, str) and value != "",
    "expect_genesis_hash": lambda value, _: isinstance(value, str) and value != "",
}


def layout(run):
    """Findings about the places of the validators."""
    continents = {region["id"]: region["continent"] for region in run.plan["regions"]}
    regions = Counter(node["region"] for node in run.validators if node["region"] in continents)
    powers = sorted((node["power"] or 0 for node in run.validators), reverse=True)
    f = max(0, len(powers) - 1) // 3
    if len(regions) < 3 or len({continents[region] for region in regions}) < 2:
        yield FAIL, "validators in too few regions or continents"
    if sum(count >= 2 for count in regions.values()) < 2:
        yield FAIL, "too few regions with two validators"
    if f < 1 or sum(powers[f:]) < 2 * sum(powers) // 3 + 1:
        yield FAIL, "no fault is tolerated"


def genesis_validators(run):
    """Findings about the validators of the genesis file."""
    try:
        _, first = read_genesis(run.files)
    except Wrong as error:
        yield UNKNOWN, str(error)
        return
    planned = Counter((node["validator_id"], node["power"]) for node in run.validators)
    if planned != Counter((m.id, m.power) for m in first.members):
        yield INVALID, "genesis.json: other validators than the plan's"


def g12(run):
    yield from layout(run)
    plan, genesis = run.plan["genesis"], records.raw(run.files, "genesis.json")
    hash_word = "0x" + plan["sha3"].hex()
    if genesis is None:
        yield UNKNOWN, "no genesis.json"
    elif sha3(genesis) != plan["sha3"]:
        yield INVALID, "genesis.json: not the plan's"
    if genesis is not None:
        yield from genesis_validators(run)
    binary = next((one["sha3"] for one in run.plan["binaries"] if one["name"] == "qbind-node"), None)
    if binary is None:
        yield UNKNOWN, "the plan names no qbind-node"
    for node in run.nodes:
        config = run.configs[node]
        if not isinstance(config, dict):
            yield UNKNOWN, f"{node}: no configuration"
            continue
        for key, holds in CONFIG.items():
            if config.get(key) is None:
                yield UNKNOWN, f"{node}: {key} absent"
            elif not holds(config[key], plan["network"]):
                yield FAIL, f"{node}: {key} is {config[key]!r}"
        expected = config.get("expect_genesis_hash")
        if expected is not None and word(expected) != hash_word:
            yield INVALID, f"{node}: expects another genesis"
    for node in run.plan["nodes"]:
        right = {"genesis_hash": hash_word, "binary_sha3": binary, "network": plan["network"], "name": node["name"],
                 "role": node["role"]}
        bodies = [line["body"] for line in
                  records.lines(run.files, f"status/{node['name']}.jsonl", records.ANSWER) or ()
                  if line["body"] is not None]
        if not bodies:
            yield UNKNOWN, f"{node['name']}: no status"
        for body in bodies:
            for key, value in right.items():
                said = body.get(key) if isinstance(body, dict) else None
                if not isinstance(said, str):
                    yield UNKNOWN, f"{node['name']}: no {key} in its status"
                elif value is not None and said != value:
                    yield INVALID, f"{node['name']}: {key} is {said!r}"


COUNTED = ("packets_in", "lost_random", "lost_queue", "lost_partition")


def difference(run, first, last, link):
    """What a link carried between two snapshots, None if that cannot be told."""
    old, new = (run.snapshot_link(name, link) for name in (first, last))
    if old is None or new is None:
        return None
    out = {key: new[key] - old[key] for key in COUNTED}
    for key in ("datagram_delay_bins", "ordered_delay_bins"):
        before = dict(reversed(old[key]))
        out[key] = sorted((edge, count - before.get(edge, 0)) for edge, count in new[key])
        if any(count < 0 for _, count in out[key]):
            return None
    return out if min(out[key] for key in COUNTED) >= 0 else None


def quantile(bins, thousandths):
    """The middle of the first bin at which the running sum reaches a share of the packets."""
    reached, wanted = 0, max(1, -(-sum(count for _, count in bins) * thousandths // 1000))
    for edge, count in bins:
        reached += count
        if reached >= wanted:
            return edge + 50


PACKETS = 100_000


def loss(found, link):
    """Findings about the loss of a link."""
    packets, lost = max(0, found["packets_in"] - found["lost_partition"]), found["lost_random"]
    if packets > PACKETS:
        packets, lost = PACKETS, lost * PACKETS // packets
    interval = loss_interval(packets, lost)
    if interval is None:
        yield UNKNOWN, f"{where(link)}: no interval of its loss"
        return
    half = (interval[1] - interval[0]) // 2
    if not max(0, interval[0] - half) <= 100 * link["loss_bps"] <= interval[1] + half:
        yield INVALID, f"{where(link)}: lost {interval[0]} to {interval[1]} in a million"


def where(link):
    return f"{link['from']} to {link['to']}"


def g13(run):
    if not run.plan["links"]:
        yield UNKNOWN, "no link in the plan"
    bursts = [{fault["from"], fault["to"]} for fault in run.plan["faults"] if fault["kind"] == "loss_burst"]
    for link in run.plan["links"]:
        yield from measured_link(run, link)
        yield from live_link(run, link, {link["from"], link["to"]} in bursts)
    yield from measurement(run)
    delays = {(link["from"], link["to"]): link["delay_us"] for link in reversed(run.plan["links"])}
    for link in run.plan["links"] if run.matrix is not None else ():
        back = delays.get((link["to"], link["from"]))
        if back is not None:
            asked, pair = link["delay_us"] + back, run.matrix.get((link["from"], link["to"]))
            if pair is None:
                yield UNKNOWN, f"{where(link)}: not measured"
            elif abs(pair["p50_us"] - asked) > 2 * run.bounds["link_delay_tolerance_us"]:
                yield INVALID, f"{where(link)}: probes took {pair['p50_us']} us of {asked}"


def measured_link(run, link):
    """Findings of a link while the network was measured."""
    found = difference(run, "measure-start", "measure-end", link)
    bins = found and found["datagram_delay_bins"]
    if not found or sum(count for _, count in bins) < DATAGRAMS_MIN:
        yield UNKNOWN, f"{where(link)}: too few datagrams measured"
        return
    middle = quantile(bins, 500)
    if abs(middle - link["delay_us"]) > run.bounds["link_delay_tolerance_us"] + 100:
        yield INVALID, f"{where(link)}: {middle} us of {link['delay_us']}"
    jitter, asked = max(0, quantile(bins, 950) - middle), link["jitter_us"] * 9 // 10
    if abs(jitter - asked) > max(1000, asked * run.bounds["link_jitter_tolerance_permille"] // 1000):
        yield INVALID, f"{where(link)}: jitter {jitter} us of {asked}"
    yield from loss(found, link)


def live_link(run, link, has_burst):
    """Findings of a link in the live window."""
    found = difference(run, "live-start", "live-end", link)
    if found is None:
        yield UNKNOWN, f"{where(link)}: not counted in the window"
        return
    middle = quantile(found["ordered_delay_bins"], 500)
    slack = link["jitter_us"] + run.bounds["link_delay_tolerance_us"]
    if middle is None:
        yield UNKNOWN, f"{where(link)}: nothing carried in the window"
    elif not max(0, link["delay_us"] - slack) <= middle <= link["delay_us"] + slack + 100:
        yield INVALID, f"{where(link)}: {middle} us in the window"
    if not has_burst:
        yield from loss(found, link)


GATES = {"G1": g1, "G2": g2, "G3": g3, "G4": g4, "G5": g5, "G6": g6, "G7": g7, "G8": g8, "G9": g9, "G10": g10,
         "G11": g11, "G12": g12, "G13": g13}
WINDOWED = {"G1", "G2", "G3", "G4"}             # go on after a window fault
NEED_WINDOW = {"G5", "G6", "G7", "G8", "G9", "G10"}     # do not


def findings(run, gate):
    """All findings of a gate."""
    if run.plan is None:
        return [(UNKNOWN, "plan.yaml: not readable")]
    if gate not in GATES:
        return [run.window_fault] if run.window_fault else added.Judge(run, run.added[gate]).findings
    found = [run.window_fault] if gate in WINDOWED | NEED_WINDOW and run.window_fault else []
    return found if found and gate in NEED_WINDOW else found + list(GATES[gate](run))


def verdict_of(found):
    """The verdict of findings, and the first reasons for it."""
    for verdict in (FAIL, INVALID, UNKNOWN):
        reasons = [why for finding, why in found if finding == verdict]
        if reasons:
            return verdict, "; ".join(reasons[:3]) + (f"; {len(reasons)} in all" if len(reasons) > 3 else "")
    return PASS, ""


def recompute(files, stored):
    """A row (gate, result, stored verdict, our verdict, why) for every gate, and one for the overall verdict."""
    run = Evidence(files)
    told = {gate["id"]: gate for gate in stored["gates"]}
    expected = [gate for gate in GATES if gate != "G13" or run.plan is None or run.plan["target"] == "lab"]
    expected += run.added
    rows, ours = [], []
    for gate in dict.fromkeys([*expected, *told]):
        theirs = told.get(gate, {})
        severity = run.added[gate]["severity"] if gate in run.added else "soft" if gate in SOFT else "hard"
        try:
            if gate not in expected:
                raise NotRecomputed("no gate of this run")
            verdict, why = verdict_of(findings(run, gate))
            ours.append({"severity": severity, "verdict": verdict})
        except (NotRecomputed, Refused) as reason:
            verdict, why = None, str(reason)
        except (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
            verdict, why = None, f"what is there cannot be worked with: {error!r}"[:300]
        same = (verdict, severity) == (theirs.get("verdict"), theirs.get("severity"))
        result = NOT if verdict is None else AGREES if same else DIFFERS
        rows.append((gate, result, theirs.get("verdict"), verdict, why))
    verdict = statements.overall(ours) if len(ours) == len(rows) else None
    rows.append(("overall", NOT if verdict is None else AGREES if verdict == stored["verdict"] else DIFFERS,
                 stored["verdict"], verdict, ""))
    return rows
