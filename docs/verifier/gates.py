"""Works gates out again from the raw files of a bundle and compares them with gates.json.

Definitions: the design of the gates (fact, comparison, window) and the plan inside the bundle. What the
documents leave open is either not recomputed, with the reason, or compared within 1 % and said so.
"""
import bisect
import json
import random
import re
from collections import Counter, defaultdict
from fractions import Fraction
from functools import cached_property
from math import comb

import yaml

from chain import Chain
from container import Refused, sha3
from statements import overall, parse

STEPS = ["T185", "T222", "T221", "T223", "T234", "T236", "T238"]
SOFT = {"G9", "G10"}
AGREES, DIFFERS, NOT = "AGREES", "DIFFERS", "NOT RECOMPUTED"
NUMBER = r"[0-9]+\.[0-9]{3}"


class NotRecomputed(Exception):
    """This verifier cannot judge the gate; the text says why."""


def milli(value):
    """Thousandths as gates.json writes them."""
    return f"{value // 1000}.{value % 1000:03}"


def rank(ordered, percent):
    """Nearest rank."""
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]


def json_lines(files, name):
    for line in files.lines(name):
        yield parse(name, line)


class Run:
    """What several gates need: plan, window, cuts, feeds, chain, load. Each is read when first asked for, so
    that what is wrong with one spoils no gate that rests on another."""

    def __init__(self, files):
        self.files = files
        self.plan = yaml.safe_load(files.read("plan.yaml"))
        self.bounds = self.plan["bounds"]
        self.nodes = [n["name"] for n in self.plan["nodes"]]
        live = parse("faults/live.json", files.read("faults/live.json"))
        self.start, self.end = live["started_unix_ms"], live["ended_unix_ms"]
        self.faults = live["faults"]

    @cached_property
    def chain(self):
        return Chain(self.files)

    @cached_property
    def commits(self):
        """By node: (height, block id, state root, the node's clock when it committed)."""
        return {node: [(x["height"], bytes.fromhex(x["block_id"][2:]), bytes.fromhex(x["state_root"][2:]),
                        x["committed_unix_ms"])
                       for x in json_lines(self.files, f"commits/{node}.jsonl") if x["kind"] == "commit"]
                for node in self.nodes if f"commits/{node}.jsonl" in self.files}

    @cached_property
    def load(self):
        return list(json_lines(self.files, "load/transactions.jsonl"))

    @cached_property
    def load_start(self):
        return parse("load/summary.json", self.files.read("load/summary.json"))["started_unix_ms"]

    @cached_property
    def cuts(self):
        """Cut windows by node. What was not planned is not cut."""
        cuts, planned = defaultdict(list), {f["id"]: f for f in self.plan["faults"]}
        for fault in self.faults:
            plan = planned[fault["id"]]
            begin = self.start + plan["at_ms"]
            known = fault["nodes"] == plan["affected"] if plan["affected"] else len(fault["nodes"]) == 1
            late = abs(fault["from_unix_ms"] - begin) + abs(fault["healed_unix_ms"] - begin - plan["duration_ms"])
            if not known or late > 10_000:  # a longer cut than planned would hide what must show
                raise Refused(f"faults/live.json: {fault['id']} was not done as planned")
            for node in fault["nodes"]:
                cuts[node].append((fault["from_unix_ms"], fault["healed_unix_ms"] + plan["recovery_ms"]))
        return cuts

    def is_cut(self, node, begin, end):
        return any(begin <= until and end >= since for since, until in self.cuts[node])

    def sample(self):
        """(schedule, latency) in microseconds of the transfers that count: due after the warm-up and within
        the window, and not under way while their node is cut. The documents do not say how warm-up and cuts
        apply to a transfer under way; of the plausible readings this is the one that gives the stored figures."""
        base, out = self.load_start * 1000, []
        for line in self.load:
            due, done = base + line["scheduled_us"], base + line.get("committed_us", 1 << 62)
            if (self.start + self.plan["live"]["warmup_s"] * 1000) * 1000 <= due <= self.end * 1000:
                if "committed_us" in line and not self.is_cut(line["node"], due / 1000, done / 1000):
                    out.append((due, done - due))
        if len(out) < self.bounds["latency_samples_min"]:
            raise NotRecomputed("too few samples")
        return out

    def interval(self, percent):
        """Point and 95 % interval by a block bootstrap of our own: the documents fix no generator, so only the
        verdict it gives is compared, not its ends."""
        sample, length = self.sample(), self.bounds["bootstrap_block_s"] * 1_000_000
        blocks = defaultdict(list)
        for due, latency in sample:
            blocks[due // length].append(latency)
        blocks, dice = list(blocks.values()), random.Random(self.plan["seed"])
        points = sorted(rank(sorted(x for b in dice.choices(blocks, k=len(blocks)) for x in b), percent)
                        for _ in range(self.bounds["bootstrap_resamples"]))
        cut = len(points) * 25 // 1000
        return rank(sorted(latency for _, latency in sample), percent), points[cut], points[-1 - cut]

    def matrix(self):
        """Measured pairs of different regions, each worked out again from its raw samples."""
        matrix = parse("measure/matrix.json", self.files.read("measure/matrix.json"))
        self.soundness = matrix["soundness"]
        pairs = {(p["from"], p["to"]): p for p in matrix["pairs"] if p["from"] != p["to"]}
        _, *samples = json_lines(self.files, "measure/samples.jsonl")
        for key, pair in pairs.items():
            raw = [x["rtt_ns"] for x in samples if (x["from"], x["to"]) == key]
            got = sorted(rtt for rtt in raw[0] if rtt is not None) if len(raw) == 1 else []
            p50, p95 = ((rank(got, percent) + 500) // 1000 if got else 0 for percent in (50, 95))
            if not got or (len(raw[0]), len(got), p50, p95 - p50) != tuple(
                    pair[k] for k in ("sent", "received", "p50_us", "jitter_us")):
                raise Refused(f"measure/matrix.json: {key[0]} to {key[1]} is not what the samples give")
        names = {r["id"] for r in self.plan["regions"]}
        if set(pairs) != {(a, b) for a in names for b in names if a != b}:
            raise NotRecomputed("the measured matrix is incomplete")
        return pairs

    def floor(self):
        """Five one-way delays to a quorum (batch out and back, proposal, vote, commit vote) of the median
        validator. The documents do not say which validator counts or how is rounded."""
        matrix, delays = self.matrix(), []
        voters = [n for n in self.plan["nodes"] if n["role"] == "validator"]
        quorum = sum(v["power"] for v in voters) * 2 // 3 + 1
        for origin in voters:
            reached = 0
            for delay, power in sorted((0 if v["region"] == origin["region"] else
                                        matrix[origin["region"], v["region"]]["p50_us"], v["power"]) for v in voters):
                reached += power
                if reached >= quorum:
                    delays.append(delay * 5 // 2)
                    break
        return sorted(delays)[len(delays) // 2]


def classify(matrix):
    """The class of section 2 and with it the height bound."""
    names = sorted({a for a, _ in matrix})
    if len(names) < 2 or any(p["sent"] < 1000 for p in matrix.values()):
        return "Invalid"
    rtt = {frozenset(k): max(p["p50_us"], matrix[k[::-1]]["p50_us"]) for k, p in matrix.items()}

    def median(values):
        values = sorted(values)
        return Fraction(values[(len(values) - 1) // 2] + values[len(values) // 2], 2) if values else None

    slow = []
    for name in names:
        s, b = (median(v for k, v in rtt.items() if (name in k) is here) for here in (True, False))
        if b is not None and s >= 2 * b and s - b >= 20_000:
            slow.append(name)
    kept = [v for k, v in rtt.items() if len(slow) != 1 or slow[0] not in k]

    def proved(p):
        below = sum(comb(p["sent"], i) * 199 ** (p["sent"] - i) for i in range(p["sent"] - p["received"] + 1))
        return below * 20 <= 200 ** p["sent"]

    flags = (("A" if max(rtt.values()) - min(rtt.values()) >= 50_000 or slow else "")
             + ("F" if max(kept, default=0) > 200_000 else "")
             + ("J" if max(p["jitter_us"] for p in matrix.values()) > 30_000 else "")
             + ("" if all(proved(p) for p in matrix.values()) else "L"))
    return {"": "Uniform", "A": "Asymmetric", "J": "HighJitter", "L": "Lossy"}.get(flags, "Mixed")


def below(low, high, most):
    """Verdict of a bound on an interval."""
    return "PASS" if high <= most else "FAIL" if low > most else "UNKNOWN"


def judge(is_broken, is_complete):
    return "FAIL" if is_broken else "PASS" if is_complete else "UNKNOWN"


def tell(run, bad):
    """The first problems of a gate about the chain."""
    return "; ".join([*([run.chain.gap] if run.chain.gap else []), *bad[:3]])


def g1(run):
    ids, known = defaultdict(set), run.chain.ids
    for lines in run.commits.values():
        for height, block, _, _ in lines:
            ids[height].add(block)
    divergent = sum(len(found | {known.get(h)} - {None}) > 1 for h, found in ids.items())
    unproved = [h for h in ids if h not in known]
    bad = run.chain.problems["G1"]
    return (judge(divergent or bad, not (run.chain.gap or unproved or len(run.commits) < len(run.nodes))),
            f"{divergent} divergent of {len(ids)} heights, {len(known) - len(bad)} certificates verified",
            tell(run, bad))


def scrapes(run, wanted):
    """(node, time, {metric: sum of its series}) of every complete scrape."""
    for line in json_lines(run.files, "scrapes/index.jsonl"):
        if line.get("status") == 200 and line.get("file"):
            values = Counter()
            for row in run.files.lines(line["file"]):
                name = re.split(rb"[ {]", row, maxsplit=1)[0].decode()
                if name in wanted:
                    values[name] += float(row.rsplit(b" ", 1)[1])
            yield line["node"], line["at_unix_ms"], values


def g2(run):
    metric, reported, nodes, bad = "qbind_dag_coupling_block_mismatch_total", 0, set(), run.chain.problems["G2"]
    for node, _, values in scrapes(run, {metric}):
        if metric in values:
            nodes.add(node)
            reported = max(reported, int(values[metric]))
    return (judge(bad or reported, nodes == set(run.nodes) and not run.chain.gap),
            f"{reported} reported, {len(bad)} of {run.chain.references} references wrong", tell(run, bad))


def g3(run):
    """Replays nonces in chain order and holds every node's claims and the client's view against it."""
    bad, success, next_nonce, committed = list(run.chain.problems["G3"]), {}, Counter(), {}
    for node in run.nodes:
        for line in json_lines(run.files, f"transactions/{node}.jsonl"):
            transfers, height = run.chain.transfers.get(line["height"]), line["height"]
            if transfers is None and run.chain.gap:
                continue
            if transfers is None or sha3(b"".join(t[0] for t in transfers)).hex() != line["ids_sha3"][2:]:
                bad.append(f"transactions/{node}.jsonl: height {height} lists other transfers than the chain")
            elif {len(transfers)} != {len(line["success"]), line["transactions"]} or (
                    success.setdefault(height, line["success"]) != line["success"]):
                bad.append(f"transactions/{node}.jsonl: height {height} has other outcomes than another node's")
    if set(success) != set(run.chain.transfers) and not bad:
        raise NotRecomputed("some height's outcomes are claimed by no node")
    for height, transfers in run.chain.transfers.items():
        for (identity, sender, nonce), outcome in zip(transfers, success.get(height, "")):
            is_next = nonce == next_nonce[sender]
            if is_next and outcome == "0" and not bad:
                raise NotRecomputed("a transfer failed, and the documents do not say what gas it used: "
                                    "its nonce may be spent or not")
            if outcome == "1" and not is_next:
                bad.append(f"blocks/{height:010}.borsh: nonce {nonce} of {sender.hex()[:8]} used out of turn")
            if outcome == "1":
                next_nonce[sender] += 1
                committed[identity] = height
    for line in run.load if not run.chain.gap else ():
        is_committed = line["fate"] == "committed" or "height" in line
        if line["fate"] == "duplicated" or (
                is_committed and committed.get(bytes.fromhex(line["id"][2:]), -1) != line.get("height")):
            bad.append(f"load/transactions.jsonl: {line['id'][:10]} is not in its block once")
    return judge(bad, not run.chain.gap), f"{sum(next_nonce.values())} nonces used once each", tell(run, bad)


def g4(run):
    roots = defaultdict(set)
    for lines in run.commits.values():
        for height, _, root, _ in lines:
            roots[height].add(root)
    bad = [h for h, found in roots.items() if len(found | {run.chain.roots.get(h)} - {None}) > 1]
    if bad:
        return "FAIL", None, f"state roots differ at height {bad[0]}"
    raise NotRecomputed("the documents state neither the gas of a transfer nor the tree's encoding, so no replay; "
                        "checked instead: one state root per height on all nodes, "
                        f"{len(set(roots) & set(run.chain.roots))} of them equal to a certified one")


def g5(run):
    kind = classify(run.matrix())
    if kind == "Invalid":
        raise NotRecomputed("the measured matrix is of no class")
    most = run.bounds["height_divergence_normal_blocks" if kind in ("Uniform", "Asymmetric", "HighJitter")
                      else "height_divergence_stress_blocks"]
    feeds = {}
    for node, lines in run.commits.items():
        # A height counts from when it was first claimed; the highest so far is the node's height.
        times, heights, top = [], [0], 0
        for at, height in sorted((clock, height) for height, _, _, clock in lines):
            top = max(top, height)
            times.append(at)
            heights.append(top)
        feeds[node] = times, heights
    worst = last = 0
    for at in range(run.start, run.end + 1, run.bounds["align_ms"]):
        now = [heights[bisect.bisect_right(times, at)] for node, (times, heights) in feeds.items()
               if not run.is_cut(node, at, at)]
        if len(now) > 1:
            last = max(now) - min(now)
            worst = max(worst, last)
    note = f"{kind} links, bound {most}; {last} at the last instant; the measurement calls itself {run.soundness}"
    return judge(worst > most, len(feeds) == len(run.nodes)), f"{worst} blocks at most", note


def g6(run):
    names = ["qbind_anti_eclipse_asn_diversity", "qbind_p2p_connected_peers", "qbind_p2p_outbound_peers"]
    least = {}
    for node, at, values in scrapes(run, set(names)):
        if run.start <= at <= run.end and not run.is_cut(node, at, at):
            least = {n: int(min(values[n], least.get(n, values[n]))) for n in names}
    target = min(run.bounds["outbound_target"], len(run.nodes) - 1)
    short = least["qbind_p2p_outbound_peers"] < run.bounds["outbound_peers_min"] or least[names[1]] < target
    why = ("by the documents alone this is FAIL: what a node may lack while others are absent is not in them" if short
           else "that is enough, but the peers' own views were not compared")
    raise NotRecomputed("least " + ", ".join(f"{n} {least[n]}" for n in names) + "; " + why)


def g7(run):
    point, low, high = run.interval(50)
    rate = run.plan["load"]["rate_per_second"]
    result = parse("steps/t234/result.json", run.files.read("steps/t234/result.json"))
    found = [s["facts"]["baseline"] for s in result["scenarios"]]
    found = [baseline for baseline in found if baseline["offered_tps"] == rate]
    if not found:
        raise NotRecomputed("T234 has no scenario at the offered load")
    cuts = [c for windows in run.cuts.values() for c in windows]
    first = run.start + run.plan["live"]["warmup_s"] * 1000
    seconds = {at for at in range(first, run.end - 999, 1000)
               if not any(at <= until and at + 1000 > since for since, until in cuts)}
    if len(seconds) < run.bounds["tps_seconds_min"]:
        raise NotRecomputed("too few seconds without a planned fault")
    done = [run.load_start + x["committed_us"] // 1000 - run.start for x in run.load if "committed_us" in x]
    tps = sum(run.start + at // 1000 * 1000 in seconds for at in done) * 1000 // len(seconds)
    base_tps, base, floor = int(found[0]["tps"] * 1000), found[0]["p50_us"], run.floor()
    slow = below(low, high, (base + floor) * run.bounds["latency_max_permille"] // 1000)
    is_few = tps * 1000 < base_tps * run.bounds["tps_min_permille"]
    pattern = (rf"(?P<tps>{NUMBER}) TPS \({NUMBER} to {NUMBER}\), T234 {milli(base_tps)}; p50 {milli(point)} ms "
               rf"\({NUMBER} to {NUMBER}\), T234 {milli(base)} \+ floor (?P<floor>{NUMBER})")
    return "FAIL" if is_few else slow, pattern, f"p50 {milli(point)} ms", {"tps": tps, "floor": floor}


def g8(run):
    point, low, high = run.interval(99)
    lost = sum(1 for x in run.load if "accepted_us" in x and "committed_us" not in x)
    verdict = "FAIL" if lost else below(low, high, run.bounds["commit_p99_max_ms"] * 1000 - 1)
    pattern = rf"p99 {milli(point)} ms \({NUMBER} to {NUMBER}\), {lost} lost"
    return verdict, pattern, f"p99 {milli(point)} ms, {lost} lost", {}


def g9(run):
    changes, view = "qbind_consensus_view_changes_total", "qbind_consensus_current_view"
    grown, before = defaultdict(Counter), {}  # the stored text pairs the largest of each, also of different nodes
    for node, at, values in scrapes(run, {changes, view}):
        if run.start <= at <= run.end:
            since, old = before.get(node, (at, values))
            for name in () if run.is_cut(node, since, at) else (changes, view):
                grown[node][name] += int(values[name] - (old[name] if values[name] >= old[name] else 0))
            before[node] = at, values
    pairs = [(grown[node][changes], grown[node][view]) for node in run.nodes if grown[node][view]]
    base = run.bounds["view_changes_base_permille"]
    planned = run.bounds["view_changes_per_fault"] * len(run.plan["faults"])
    above = any(c > planned + base * v // 1000 for c, v in pairs)
    if above and any(p["received"] < p["sent"] for p in run.matrix().values()):
        raise NotRecomputed("above what the plan alone allows, and the term for loss is not in the documents")
    most = [max(column) for column in zip(*pairs)]
    return (judge(above, len(pairs) == len(run.nodes)), f"at most {most[0]} changes, in {most[1]} views",
            "the largest of each over the nodes, term for loss left out")


def g10(run):
    point, low, high = run.interval(50)
    floor = run.floor()
    verdict = below(low, high, floor * run.bounds["floor_max_permille"] // 1000)
    pattern = rf"p50 {milli(point)} ms \({NUMBER} to {NUMBER}\), floor (?P<floor>{NUMBER})"
    return verdict, pattern, f"p50 {milli(point)} ms", {"floor": floor}


def g11(run):
    passed, notes = 0, []
    for step in STEPS:
        name = f"steps/{step.lower()}/result.json"
        if name not in run.files:
            notes.append(f"{name}: missing")
            continue
        data = run.files.read(name)
        result = parse(name, data)
        checks = [c for s in result["scenarios"] for c in s["checks"]]
        sound = (result["id"] == step and checks and all(c["ok"] for c in checks)
                 and all(x["verdict"] == "PASS" for x in [result, *result["scenarios"]]))
        passed += sound
        said = re.search(rf"{step}: (\d+) checks, SHA3-256 0x([0-9a-f]{{64}})", run.notes.get("G11", ""))
        if said and (int(said[1]), said[2]) != (len(checks), sha3(data).hex()):
            notes.append(f"{name}: not the digest or number of checks that gates.json names")
    return "PASS" if passed == 7 and not notes else "FAIL", f"{passed} of 7 PASS", "; ".join(notes)


def g13(run):
    if run.plan["target"] != "lab":
        raise NotRecomputed("the network is real")
    snap = {n: {(x["from"], x["to"]): x for x in parse(n, run.files.read(f"links/{n}.json"))["links"]}
            for n in ("measure-start", "measure-end", "live-start", "live-end")}
    worst = 0
    for link in run.plan["links"]:
        key = link["from"], link["to"]
        for span, kind in (("measure", "datagram_delay_bins"), ("live", "ordered_delay_bins")):
            bins = Counter(dict(snap[f"{span}-end"][key][kind]))
            bins.subtract(dict(snap[f"{span}-start"][key][kind]))
            half, so_far = sum(bins.values()) / 2, 0
            for edge in sorted(bins):
                so_far += bins[edge]
                if so_far >= half:
                    break
            worst = max(worst, abs(edge + 50 - link["delay_us"]))  # bins are 100 us wide
    if worst > run.bounds["link_delay_tolerance_us"]:
        return "INVALID", None, f"a median is {worst} us off"
    raise NotRecomputed(f"medians are right (worst {worst} us off, {len(run.plan['links'])} links); "
                        "how jitter is taken from the bins is not in the documents")


def g12(run):
    raise NotRecomputed("the configuration baseline (guide 3.1) is not in the documents")


GATES = {"G1": g1, "G2": g2, "G3": g3, "G4": g4, "G5": g5, "G6": g6, "G7": g7, "G8": g8, "G9": g9, "G10": g10,
         "G11": g11, "G12": g12, "G13": g13}


def compare(stored, verdict, value, note, near=None):
    """One gate's line. Without `near`, `value` is the exact text; with it, a pattern whose named numbers may be
    1 % off."""
    found = value is None or re.fullmatch(value if near is not None else re.escape(value), stored["value"])
    off = []
    for name, ours in (near or {}).items():
        theirs = int(found[name].replace(".", "")) if found else None
        note += f"; {name} {milli(ours)} by our reading" + (f", stored {found[name]}" if found else "")
        off += [name] if found and abs(ours - theirs) * 100 > ours else []
    agrees = verdict == stored["verdict"] and found and not off
    ours = [verdict, value, f"({note})" if note else None] if near is None else [verdict, note]
    return (AGREES if agrees else DIFFERS), ", ".join(filter(None, ours)).replace(", (", " (")


def recompute(files, stored):
    """A row for every gate of gates.json and the default set, and one for the overall verdict."""
    rows, by_id = [], {g["id"]: g for g in stored["gates"]}
    run = None
    for gate in dict.fromkeys([*GATES, *by_id]):
        if gate not in by_id:
            rows.append((gate, DIFFERS, "nothing", "gates.json: the gate is missing"))
            continue
        told = f"{by_id[gate]['verdict']}, {by_id[gate].get('value')}"
        try:
            if gate not in GATES:
                raise NotRecomputed("unknown to this verifier")
            if by_id[gate]["severity"] != ("soft" if gate in SOFT else "hard"):
                raise Refused(f"gates.json: {gate} has another severity than defined")
            if run is None:
                run = Run(files)
                run.notes = {i: g.get("note", "") for i, g in by_id.items()}
            result, ours = compare(by_id[gate], *GATES[gate](run))
        except NotRecomputed as reason:
            result, ours = NOT, str(reason)
        except Refused as error:
            result, ours = DIFFERS, str(error)
        except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            result, ours = DIFFERS, f"raw files: malformed: {error!r}"
        rows.append((gate, result, told, ours))
    verdict = overall(stored["gates"])
    rows.append(("overall", AGREES if verdict == stored["verdict"] else DIFFERS, stored["verdict"],
                 f"{verdict}, from the stored gates"))
    return rows
