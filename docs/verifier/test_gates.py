"""Tests of what the gates rest on: reading, windows, arithmetic, chain and replay.

Run in this folder: python3 -m unittest
"""
import json
import struct
import unittest
from types import SimpleNamespace

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

import added
import chain
import gates
import network
import records
import replay
import run
import statements
from container import sha3
from records import ONE

PLAN = """
schema: qbind.plan/v1
name: small
form: quick
target: lab
gate_type: mainnet_launch
seed: 1
topology: {name: small, sha3: "00"}
genesis: {sha3: "%s", network: mainnet, chain_id: c}
binaries: []
regions: [{id: eu, continent: europe}]
nodes:
- {name: a, region: eu, role: validator, power: 1, http: 10.0.0.1:9}
- {name: b, region: eu, role: rpc, http: 10.0.0.2:9}
links: []
measure: {probes_per_pair: 1, rate_per_second: 1, warmup_probes: 0, payload_bytes: 64}
steps: {form: short}
load: {rate_per_second: 1, accounts: 1, drain_s: 1, resubmit_after_s: 1}
live: {window_s: 100, warmup_s: 0, scrape_interval_ms: 5000, commit_poll_ms: 500}
faults:
- {id: k, kind: kill_leader, at_ms: 20000, duration_ms: 5000, recovery_ms: 10000, affected: [],
   expectation: continues, note: n}
bounds: {}
notes: []
""" % ("0" * 64)
LIVE = {"schema": "qbind.live/v1", "started_unix_ms": 1_000_000, "ended_unix_ms": 1_100_000, "faults": [
    {"id": "k", "nodes": ["a"], "from_unix_ms": 1_020_000, "healed_unix_ms": 1_025_000, "done": True}]}


class Files:
    """Files of a run in memory."""

    def __init__(self, **more):
        files = {"plan.yaml": PLAN, "faults/live.json": json.dumps(LIVE)} | more
        self.data = {name: data if isinstance(data, bytes) else data.encode() for name, data in files.items()}
        self.index = {name: (0, len(data), "") for name, data in self.data.items()}

    def __contains__(self, name):
        return name in self.data

    def read(self, name):
        return self.data[name]

    def under(self, folder):
        return [name for name in sorted(self.data) if name.startswith(folder + "/")]


def evidence(**files):
    return gates.Evidence(Files(**files))


def verdict(gate, **files):
    return gates.verdict_of(gates.findings(evidence(**files), gate))[0]


class Reading(unittest.TestCase):
    def test_records_hold_their_form(self):
        line = {"height": 1, "transactions": 0, "ids_sha3": "0x", "success": ""}
        self.assertEqual(records.CLAIM(line), line)
        for wrong in ({"height": -1}, {"height": 1.0}, {"height": 1 << 64}, {"height": True}, {"more": 1},
                      {"success": None}):
            with self.assertRaises(records.Damaged, msg=wrong):
                records.CLAIM(line | wrong)
        for data in (b'{"height":1,"height":1,"transactions":0,"ids_sha3":"","success":""}', b"\n", b"\xff", b"[",
                     b"NaN"):
            self.assertIsNone(records.lines(Files(x=data), "x", records.CLAIM), data)
        self.assertEqual(records.lines(Files(x=b""), "x", records.CLAIM), [])
        self.assertIsNone(records.lines(Files(), "x", records.CLAIM))
        self.assertEqual(records.lines(Files(x=b"1\r\n2"), "x", records.U64), [1, 2])

    def test_a_plan_is_read_as_a_whole_or_not(self):
        self.assertEqual(evidence().bounds["align_ms"], 1000)
        for old, new in (("seed: 1", "seed: x"), ("seed: 1", "seed: 1\nseed: 1"), ("seed: 1", ""),
                         ("bounds: {}", "bounds: {more: 1}"), ("bounds: {}", "bounds: {align_ms: 99}"),
                         ("bounds: {}", "bounds: {bootstrap_resamples: 0}"), ("window_s: 100", "window_s: 86401"),
                         ("target: lab", "target: moon"), ("notes: []", "notes: [")):
            self.assertIsNone(evidence(**{"plan.yaml": PLAN.replace(old, new)}).plan, new)
            self.assertEqual(verdict("G13", **{"plan.yaml": PLAN.replace(old, new)}), "UNKNOWN")

    def test_added_gates_are_held_to_their_limits(self):
        right = """added_gates:
- {id: X1, title: "t", severity: hard, fact: rate, metric: m, labels: {true: 200}, at_least: 0.5, policy: {reset: fail}}
- {id: X99, title: t, severity: soft, fact: spread, metric: m, at_most: "-0", policy: {for_s: "5", breaches: 2}}
"""
        plan = evidence(**{"plan.yaml": PLAN + right}).plan
        self.assertEqual([(gate["at_least"], gate["at_most"]) for gate in plan["added_gates"]], [(500_000, None), (None, 0)])
        self.assertEqual(plan["added_gates"][0]["labels"], {"true": "200"})
        self.assertEqual(plan["added_gates"][1]["policy"]["for_s"], 5)
        for old, new in (("X1", "X100"), ("X1", "X01"), ("X1", "X99"), ("X1", "G1"), ('"t"', '""'), ('"t"', "é" * 101),
                         ('"t"', '"a\u202eb"'), ("0.5", "1e3"), ("0.5", "0.1234567"), ("0.5", "00000000000.5"), ("0.5", "1, at_most: 0"),
                         ("0.5", "0, policy: {reset: restart}"), ("0.5, policy", "0.5, id: X2, policy"), (", at_least: 0.5", ""),
                         ("reset: fail", "breaches: 1"), ("reset: fail", "more: 1"), ("for_s:", "reset: fail, for_s:"),
                         ("rate", "p50, policy: {several: largest}"), ("rate", "without_progress"), ("rate", "other"),
                         ("metric: m, labels", "metric: 1m, labels"), ("fact: spread", "fact: spread, whose: rpc"),
                         ("200", '"a,b"'), ("policy: {reset: fail}", "policy: {reset: fail, reset: fail}")):
            self.assertIn(old, right)
            self.assertIsNone(evidence(**{"plan.yaml": PLAN + right.replace(old, new, 1)}).plan, new)

    def test_values_and_edges_become_whole_numbers(self):
        for value, expected in ((2.0, 2_000_000), (0.1, 100_000), (-2.5e-7, 0), (5e-7, 1), (-5e-7, -1), (float(1 << 53), ONE << 53),
                                (9.1e15, None), (9007199254.75, None), (float("nan"), None), (float("-inf"), None)):
            self.assertEqual(added.sample(value), expected, value)
        for value, expected in ((3.0, 3), (0.5, None), (-1.0, None), (float("inf"), None)):
            self.assertEqual(added.count(value), expected, value)
        for text, expected in (("1.0", ONE), ("-0.5", -ONE // 2), ("+1", None), (".5", None), ("1.", None), (None, None)):
            self.assertEqual(records.millionths(text), expected, text)

    def test_scrapes_are_read_line_by_line(self):
        body = [f"# TYPE {run.VIEW} gauge", f"{run.VIEW} 7", f'{run.OUTBOUND}{{a="1"}} 2 99',
                f'{run.OUTBOUND}{{a="2"}} 3', "x 1 1"]
        scrape = run.Scrape(0, 0, run.parse_body("\n".join(body)))
        self.assertEqual((scrape.scalar(run.VIEW), scrape.scalar(run.OUTBOUND), scrape.sum(run.OUTBOUND)), (7, None, 5))
        self.assertEqual((scrape.scalar(run.ASN), scrape.sum(run.ASN)), (None, None))
        for value in ("NaN", "+Inf", "1.5", "1e17"):
            self.assertIsNone(run.Scrape(0, 0, run.parse_body(f"{run.VIEW} {value}")).scalar(run.VIEW), value)
        self.assertFalse(run.parse_body(f"{run.VIEW} 0x7\n{run.VIEW} 1_0"))
        self.assertIsNone(run.parse_body(f"{run.VIEW} 7\n{run.VIEW} 7"))
        self.assertEqual(len(run.parse_body(f"# TYPE {run.VIEW} summary\n{run.VIEW}{{quantile=\"1\"}} 7")), 1)
        for line in (f"{run.VIEW}\xa07", f"{run.VIEW} 7\x0b", f"{run.VIEW} \u0131nf", f"{run.VIEW}{{}} 7", f"{run.VIEW} {{a=1}} 7",
                     f"{run.VIEW} 1{'1' * 500_000}x", f"{run.VIEW}"):
            self.assertIsNone(run.parse_body(line), line[:50])
        for line in (f"\x1c{run.VIEW} 7", f"a{run.VIEW} 7", f"{run.VIEW}:rate 7", f"# {run.VIEW} 7"):
            self.assertEqual(run.parse_body(line), {}, line)
        self.assertEqual(len(run.parse_body(f"{run.VIEW} 7\r\n\t{run.ASN} 7 \r")), 2)

    def test_words(self):
        for text, expected in (("RecordOnly", "record-only"), ("record_only", "record-only"), ("Warn", "warn"),
                               ({"A": 1}, '{"-a":1}'), (True, "true")):
            self.assertEqual(run.word(text), expected)


class Windows(unittest.TestCase):
    def live(self, fault=(), **change):
        value = json.loads(json.dumps(LIVE)) | change
        value["faults"][0].update(fault)
        return evidence(**{"faults/live.json": json.dumps(value)})

    def test_what_was_not_done_as_planned_is_a_window_fault(self):
        self.assertIsNone(self.live().window_fault)
        self.assertIsNone(self.live(ended_unix_ms=1_099_000).window_fault)
        self.assertEqual(self.live(schema="x").window_fault[0], "UNKNOWN")
        for change in ({"done": False}, {"nodes": ["b"]}, {"nodes": ["a", "b"]}, {"id": "x"},
                       {"from_unix_ms": 1_014_999}, {"healed_unix_ms": 1_019_999}, {"healed_unix_ms": 1_023_999},
                       {"healed_unix_ms": 1_035_001}):
            self.assertEqual(self.live(change).window_fault[0], "INVALID", change)
        for end in (999_999, 1_098_999, 1_160_001, 1 << 45):
            self.assertEqual(self.live(ended_unix_ms=end).window_fault[0], "INVALID", end)
        self.assertEqual(verdict("G5", **{"faults/live.json": json.dumps(LIVE | {"faults": []})}), "INVALID")

    def test_a_fault_leaves_a_trace(self):
        def fault(*rows):
            more = {"poll": {"tip": 0}, "gap": {"error": "e"}}
            lines = [json.dumps({"kind": kind, "at_unix_ms": at, "duration_ms": 1} | more[kind]) for kind, at in rows]
            return evidence(**{"commits/a.jsonl": "\n".join(lines)}).window_fault

        self.assertIsNone(fault(("poll", 1_021_999), ("gap", 1_022_500), ("poll", 1_024_000)))
        for rows in ([("poll", 1_022_000), ("gap", 1_022_500)], [("gap", 1_019_999)], [("poll", 1_010_000)]):
            self.assertEqual(fault(*rows)[0], "INVALID", rows)
        plan = PLAN.replace("links: []", "links: [{from: x, to: y, delay_us: 1, jitter_us: 0, loss_bps: 0}]").replace(
            "kind: kill_leader", "kind: loss_burst, from: y, to: x, loss_bps: 500").replace("affected: []", "affected: [a]")
        # 20 packets of 7,999 or more were to be lost: 5 % for 5 seconds of 100.
        for packets, lost, expected in ((8000, 0, "INVALID"), (8000, 1, None), (7999, 0, None)):
            link = {"from": "x", "to": "y", **dict.fromkeys(gates.COUNTED, 0), "delivered": 0,
                    "datagram_delay_bins": [], "ordered_delay_bins": []}
            first, last = (json.dumps({"links": [link | {"packets_in": sent, "lost_random": n}]})
                           for sent, n in ((0, 0), (packets, lost)))
            found = evidence(**{"plan.yaml": plan, "links/live-start.json": first,
                                "links/live-end.json": last}).window_fault
            self.assertEqual(found and found[0], expected)

    def test_a_feed_is_held_against_our_clock(self):
        def feed(*rows):
            keys = {2: ("at_unix_ms", "tip"), 3: ("height", "committed_unix_ms", "seen_unix_ms")}
            kinds = {2: {"kind": "poll"}, 3: {"kind": "commit", "block_id": b"", "state_root": b"", "system_root": b""}}
            return run.Feed([kinds[len(row)] | dict(zip(keys[len(row)], row)) for row in rows])

        plain = feed((10, 1), (1, 5, 10), (20, 2), (2, 15, 20))
        self.assertEqual((plain.withholds, plain.backdated, plain.postdated, plain.tip), (False, 0, 0, 2))
        self.assertTrue(feed((10, 2), (1, 5, 10)).withholds)
        self.assertEqual(feed((10, 1), (1, 5, 10), (20, 2), (2, 3, 20)).backdated, 7)
        self.assertEqual(feed((10, 1), (1, 15, 10)).postdated, 5)

    def test_cuts_and_holes(self):
        found = self.live()
        self.assertTrue(found.cut("a", 1_020_000) and found.cut("a", 1_035_000))
        self.assertFalse(found.cut("a", 1_035_001) or found.cut("b", 1_030_000))
        self.assertEqual(found.excused("a", 1_000_000, 1_030_000), 10_000)
        for every, expected in ((15_000, False), (16_000, True)):
            found.scrapes = {node: [run.Scrape(at, 0, {}) for at in range(1_000_000, 1_100_001, every)] for node in "ab"}
            self.assertEqual(found.hole("b"), expected)
        same = {"kind": "commit", "seen_unix_ms": 0, "block_id": b"", "state_root": b"", "system_root": b""}
        found.feeds = {"b": run.Feed([same | {"height": n, "committed_unix_ms": 1_000_000 + n}
                                      for n in range(1, 90_000, 100)])}
        for views, expected in ((range(100), False), ([7] * 100, True), ([1, 1, *range(2, 100)], False)):
            found.scrapes["b"] = [run.Scrape(at, 0, {run.VIEW: [((), view)]})
                                  for at, view in zip(range(1_000_000, 1_100_001, 5_000), views)]
            self.assertEqual(found.hole("b"), expected, views)


class Arithmetic(unittest.TestCase):
    def test_percentiles_and_random_numbers(self):
        self.assertEqual([network.percentile(range(1, 11), q) for q in (1, 500, 501, 990)], [1, 5, 6, 10])
        self.assertIsNone(network.percentile([], 500))
        self.assertEqual(network.Random(0).below(1 << 64), 0xE220A8397B1DCDAF)
        plan = {"seed": 42, "bounds": {"bootstrap_resamples": 100}}
        middle = lambda values: network.percentile(values, 500)
        self.assertEqual(network.bootstrap(plan, [[5, 5], [5]], middle), (5, 5))
        self.assertIsNone(network.bootstrap(plan, [], middle))
        low, high = network.bootstrap(plan, [[1], [2], [3], [4], [100]], middle)
        self.assertTrue(1 <= low <= 3 <= high <= 100)

    def test_confidence_of_a_loss(self):
        self.assertEqual(network.loss_interval(1000, 0), (0, 3683))
        self.assertEqual(network.loss_interval(10, 10), (691502, 1_000_000))
        self.assertEqual(network.loss_interval(10, 5), (187086, 812914))
        self.assertIsNone(network.loss_interval(0, 0))
        self.assertIsNone(network.loss_interval(1, 2))

    def test_worked_classes(self):
        def matrix(ab, ac, bc, jitter=5_000, lost=0):
            rtt = {"AB": ab, "AC": ac, "BC": bc}
            return {pair: {"p50_us": int(ms * 1000), "jitter_us": jitter, "sent": 3000, "lost": lost}
                    for name, ms in rtt.items() for pair in (tuple(name), tuple(name[::-1]))}

        for expected, cases in {
            "Uniform": [(100, 149.999, 130), (20, 39, 40), (70, 75, 80, 30_000), (70, 75, 80, 0, 8)],
            "Asymmetric": [(30, 70, 75), (100, 150, 130), (20, 41, 42), (10, 10, 100), (90, 290, 200)],
            "HighJitter": [(70, 75, 80, 30_001)], "Lossy": [(70, 75, 80, 0, 9), (70, 75, 80, 0, 120)],
            "Mixed": [(250, 255, 260), (70, 75, 80, 40_000, 60)],
        }.items():
            for figures in cases:
                self.assertEqual(network.classify(matrix(*figures)), expected, figures)

    def test_the_measurement_follows_from_its_samples(self):
        def measured(*pairs, regions="ab", probes=2, engine="surge-ping", interval_us=1000):
            schedule = {"engine": engine, "probes": probes, "warm_up": 0, "interval_us": interval_us, "size_bytes": 64,
                        "dscp": 0, "seed": 1}
            head = {"schema": "qbind.samples/v1", "started_unix_ms": 0, "schedule": schedule}
            rows = [{"from": a, "to": b, "source": "10.0.0.1", "target": "10.0.0.2", "phase_us": 0,
                     "late_us": [late] * 2, "rtt_ns": rtt, "duplicates": None, "program_stamped": 0, "refused": 0,
                     "largest_clock_step_us": 0, "clock_steps": 0} for a, b, rtt, late in pairs]
            data = "\n".join(map(json.dumps, [head, *rows])).encode()
            return network.read_measurement(Files(**{"measure/samples.jsonl": data}), regions)

        back = ("b", "a", [1000, 1000], 0)
        fault, matrix = measured(("a", "b", [2_499, -1], 1000), back)
        self.assertIsNone(fault)
        self.assertEqual({k: matrix["a", "b"][k] for k in ("sent", "lost", "p50_us", "jitter_us")},
                         {"sent": 2, "lost": 1, "p50_us": 2, "jitter_us": 0})
        self.assertEqual(measured(("a", "b", [1000, 500_500], 0), back)[1]["a", "b"]["jitter_us"], 500)
        for expected, *pairs in (("UNKNOWN", ("a", "b", [1, 1], 1001), back),
                                 ("INVALID", ("a", "b", [-1, -1], 0), back), ("UNKNOWN", back),
                                 ("UNKNOWN", ("a", "c", [1, 1], 0), back), ("UNKNOWN", back, back),
                                 ("UNKNOWN", ("a", "b", [1], 0), back), ("UNKNOWN", ("a", "b", [-2, 1], 0), back)):
            self.assertEqual(measured(*pairs)[0][0], expected, pairs)
        for late, interval_us, is_void in ((2500, 10_000, False), (2501, 10_000, True), (5000, 50_000, False),
                                           (5001, 50_000, True)):
            fault, _ = measured(("a", "b", [1, 1], late), back, engine="kernel", interval_us=interval_us)
            self.assertEqual(fault is not None, is_void, late)
        self.assertEqual(network.read_measurement(Files(), "ab")[0][0], "UNKNOWN")

    def test_the_floor_of_four_equal_regions(self):
        matrix = {(a, b): {"p50_us": 100_000} for a in "abcd" for b in "abcd" if a != b}
        seats = [{"region": region, "power": 1} for region in "abcd"]
        self.assertEqual(network.latency_floor(matrix, seats), 250_000)
        self.assertIsNone(network.latency_floor({}, seats))

    def test_verdicts_add_up(self):
        def gate(severity, verdict):
            return {"severity": severity, "verdict": verdict}

        self.assertEqual(statements.overall([gate("hard", "PASS"), gate("soft", "FAIL")]), "PASS")
        self.assertEqual(statements.overall([gate("hard", "UNKNOWN")]), "INCONCLUSIVE")
        self.assertEqual(statements.overall([gate("hard", "UNKNOWN"), gate("hard", "INVALID")]), "INVALID")
        self.assertEqual(statements.overall([gate("hard", "INVALID"), gate("hard", "FAIL")]), "FAIL")
        self.assertEqual(gates.verdict_of([("UNKNOWN", "a"), ("INVALID", "b"), ("FAIL", "c")]), ("FAIL", "c"))
        self.assertEqual(gates.verdict_of([]), ("PASS", ""))


class Steps(unittest.TestCase):
    def test_a_result_is_held_to_the_digest_of_the_journal(self):
        files, lines = {}, []
        for step in gates.STEPS:
            result = {"schema": "qbind.step/v1", "id": step.upper(), "verdict": "PASS",
                      "scenarios": [{"verdict": "PASS", "checks": [{"ok": True}]}]}
            files[f"steps/{step}/result.json"] = json.dumps(result)
            digest = "0x" + sha3(json.dumps(result).encode()).hex()
            lines.append(json.dumps({"kind": "step.done", "data": {"id": step, "verdict": "PASS", "result_sha3": digest}, "seq": 1}))
        found = lambda lines, **more: verdict("G11", **files | more | {"journal.jsonl": "\n".join(lines)})
        self.assertEqual(found(lines), "PASS")
        self.assertEqual(found(lines[1:]), "UNKNOWN")
        self.assertEqual(found([lines[0].replace("PASS", "FAIL"), *lines]), "FAIL", "whatever came of it later")
        self.assertEqual(found([*lines, lines[0].replace("0x", "0x0")]), "FAIL")
        self.assertEqual(found(lines, **{"steps/t185/result.json": "{}"}), "FAIL")
        self.assertEqual(verdict("G11", **files), "UNKNOWN")


class Comparing(unittest.TestCase):
    def rows(self, verdict, **files):
        severity = lambda gate: "soft" if gate in gates.SOFT else "hard"
        stored = {"verdict": verdict, "gates": [{"id": gate, "severity": severity(gate), "verdict": "UNKNOWN"}
                                                for gate in gates.GATES]}
        return {row[0]: row for row in gates.recompute(Files(**files), stored)}

    def test_only_our_own_verdict_agrees(self):
        rows = self.rows("INCONCLUSIVE", **{"plan.yaml": "schema: qbind.plan/v1"})
        self.assertEqual({row[1] for row in rows.values()}, {gates.AGREES})
        self.assertEqual(rows["overall"][3], "INCONCLUSIVE")
        rows = self.rows("PASS")
        self.assertEqual((rows["G12"][1], rows["G12"][3], rows["overall"][1]), (gates.DIFFERS, "FAIL", gates.DIFFERS))
        self.assertEqual(rows["G4"][1], gates.AGREES)

    def test_what_cannot_be_worked_out_is_no_agreement(self):
        def broken(_):
            raise network.NotRecomputed("why")
            yield

        kept = gates.GATES["G11"]
        self.addCleanup(gates.GATES.__setitem__, "G11", kept)
        gates.GATES["G11"] = broken
        rows = self.rows("FAIL")
        self.assertEqual(rows["G11"][1:], (gates.NOT, "UNKNOWN", None, "why"))
        self.assertEqual(rows["overall"][1], gates.NOT)
        rows = self.rows("INCONCLUSIVE", **{"plan.yaml": PLAN.replace("target: lab", "target: inventory")})
        self.assertEqual(rows["G13"][1], gates.NOT)     # stored, and not a gate of this run


class Following(unittest.TestCase):
    def test_a_quorum_of_right_signatures_is_asked_for(self):
        keys = [MLDSA44PrivateKey.generate() for _ in range(4)]
        members = chain.Validators(0, [chain.Member(i, bytes(32), (k.public_key().public_bytes_raw(),), 1)
                                       for i, k in enumerate(keys)])
        message = b"QBIND:MAIN:COMMIT:v1" + struct.pack("<QQ", 0, 7) + bytes(32)
        votes = [(i, k.sign(message)) for i, k in enumerate(keys)]
        certify = lambda votes, signed=message: members.certify(votes, lambda _: signed)
        self.assertTrue(certify(votes[1:]))
        self.assertFalse(certify(votes[2:]))
        self.assertFalse(certify([votes[0], votes[0], votes[1]]))
        self.assertFalse(certify(votes[:2] + [(2, votes[3][1])]))
        self.assertFalse(certify(votes, message + b"."))
        self.assertEqual(chain.read_validators(members.enc()).enc(), members.enc())
        for wrong in (members.enc()[:-1], members.enc() + b"\0", members.enc()[:-1] + b"\1"):
            with self.assertRaises(chain.Wrong):
                chain.read_validators(wrong)

    def test_payloads(self):
        call = chain.REGISTRY + bytes(40) + b"\2" + struct.pack("<Q", 7)
        self.assertEqual(chain.read_payload(call).call, chain.Call(chain.LEAVE, [7]))
        self.assertEqual(chain.read_payload(bytes(72)).kind, "V1")
        for wrong in (b"", bytes(49), bytes(73), call + b"\0", call[:-1], chain.REGISTRY + bytes(40) + b"\4"):
            with self.assertRaises(chain.Wrong):
                chain.read_payload(wrong)


class Replaying(unittest.TestCase):
    A, B, V = (bytes([n]) * 32 for n in (1, 2, 3))

    def replay(self, *transactions, until=None, next_validators=None, known=True, height=1):
        genesis = {"network": "mainnet", "epoch_blocks": 10, "allocations": [
            {"address": self.A, "amount": 1_000_000, "lockup_until_unix_ms": until},
            {"address": self.V, "amount": 500, "lockup_until_unix_ms": None}]}
        members = chain.Validators(0, [chain.Member(1, self.V, (b"k",), 400)])
        block = SimpleNamespace(height=height, epoch=0, time=5, next_validators=next_validators)
        linked = chain.Linked(block, True, list(transactions), self.V)
        return replay.Replay(SimpleNamespace(genesis=genesis, net="MAIN", sets={0: members}, blocks=[linked]), known)

    def pay(self, amount, nonce=0, price=2, gas=37_352, call=None):
        recipient = chain.REGISTRY if call else self.B
        payload = chain.Payload("call" if call else "V1", recipient, amount, gas, price, call)
        return chain.Transaction(b"id", self.A, nonce, 72, payload, b"key")

    def test_a_transfer_moves_money_and_pays_half_its_fee_to_the_owner(self):
        done = self.replay(self.pay(1000))
        self.assertEqual(done.statuses, {1: [replay.SUCCESS]})
        self.assertEqual({a: done.accounts[a] for a in (self.A, self.B, self.V, chain.REGISTRY)},
                         {self.A: (1, 1_000_000 - 1000 - 74_704), self.B: (0, 1000), self.V: (0, 100 + 37_352),
                          chain.REGISTRY: (0, 400)})
        self.assertEqual((done.burned, done.accounted, done.supply), (37_352, 1_000_500, 1_000_500))

    def test_what_is_skipped_and_what_fails(self):
        for transaction, status in ((self.pay(1, nonce=1), replay.SKIPPED), (self.pay(1, price=0), replay.SKIPPED),
                                    (self.pay(1, gas=37_351), replay.SKIPPED), (self.pay(1, price=27), replay.SKIPPED),
                                    (self.pay(925_296), replay.SUCCESS), (self.pay(925_297), replay.FAILED)):
            self.assertEqual(self.replay(transaction).statuses[1], [status], transaction)
        self.assertEqual(self.replay(self.pay(1), self.pay(1)).statuses[1], [replay.SUCCESS, replay.SKIPPED])
        self.assertEqual(self.replay(self.pay(1), until=6).statuses[1], [replay.SKIPPED])
        self.assertEqual(self.replay(self.pay(1), until=5).statuses[1], [replay.SUCCESS])
        leave = self.replay(self.pay(1, call=chain.Call(chain.LEAVE, [1])))
        self.assertEqual((leave.statuses[1], leave.accounts[chain.REGISTRY]), ([replay.FAILED], (0, 400)))

    def test_only_elected_validators_may_be_named(self):
        elected = chain.Validators(1, [chain.Member(1, self.V, (b"k",), 400)])
        named = sha3(chain.tag("MAIN", "VALIDATORS"), elected.enc())
        self.assertIsNone(self.replay(next_validators=named, height=10).broken)
        self.assertIn("nobody elected", self.replay(next_validators=named, height=9).broken)
        self.assertIn("nobody elected", self.replay(next_validators=bytes(32), height=10).broken)

    def test_reports_are_not_replayed_where_they_may_slash(self):
        report = self.pay(0, call=chain.Call(chain.REPORT, [(chain.BATCHES, [])]))
        self.assertEqual(self.replay(report, known=False).statuses, {})
        self.assertTrue(self.replay(report, known=False).stuck)

    def test_the_registry_follows_its_rules(self):
        key = lambda n: bytes([n]) * 1312
        registry = replay.Registry(10, "MAIN", least=100, validators={
            n: replay.Validator(bytes([n]) * 32, key(n), 400, 400) for n in (1, 2, 3)})
        registry.sets[0] = chain.Validators(0, [chain.Member(n, v.owner, (v.key,), 400)
                                                for n, v in registry.validators.items()])

        def call(sender, kind, *fields, amount=0):
            payload = chain.Payload("call", chain.REGISTRY, amount, 0, 1, chain.Call(kind, list(fields)))
            return registry.call(SimpleNamespace(sender=bytes([sender]) * 32, key=key(sender)), payload)

        self.assertFalse(call(2, chain.ROTATE, 1, 0, key(8), 1, 1, 0))          # not its owner
        self.assertFalse(call(1, chain.ROTATE, 1, 0, key(2), 1, 1, 0))          # a key in use
        self.assertFalse(call(1, chain.ROTATE, 1, 0, key(8), 0, 1, 0))          # too early
        self.assertTrue(call(1, chain.ROTATE, 1, 0, key(8), 1, 1, 0))
        self.assertFalse(call(1, chain.ROTATE, 1, 0, key(9), 1, 1, 0))          # one is under way
        self.assertFalse(call(4, chain.JOIN, 4, key(4), amount=99))
        self.assertTrue(call(4, chain.JOIN, 4, key(4), amount=300))
        self.assertFalse(call(5, chain.JOIN, 5, key(5), amount=100))            # more than a quarter moves
        self.assertFalse(call(2, chain.LEAVE, 2))
        self.assertEqual(registry.election(SimpleNamespace(epoch=0, height=9)), [])
        self.assertEqual(registry.elected, 0)
        registry.election(SimpleNamespace(epoch=0, height=10))
        keys = [m.keys for m in registry.sets[1].members]
        self.assertEqual(keys, [(key(8), key(1)), (key(2),), (key(3),), (key(4),)])
        self.assertTrue(call(2, chain.LEAVE, 2))                                # alone, and less than half
        self.assertFalse(call(3, chain.LEAVE, 3))
        registry.election(SimpleNamespace(epoch=1, height=20))
        self.assertEqual(registry.election(SimpleNamespace(epoch=2, height=30)), [(bytes([2]) * 32, 400)])
        self.assertEqual([m.keys[0] for m in registry.sets[3].members], [key(8), key(3), key(4)])
        self.assertEqual(len(registry.sets[3].members[0].keys), 1)              # the grace is over

    def test_a_report_proves_two_votes_once(self):
        key = MLDSA44PrivateKey.generate()
        members = chain.Validators(0, [chain.Member(7, bytes(32), (key.public_key().public_bytes_raw(),), 1)])
        vote = lambda block: (block, key.sign(b"QBIND:MAIN:VOTE:v1" + struct.pack("<QQ", 0, 5) + block))
        one, two = vote(b"a" * 32), vote(b"b" * 32)
        found = lambda *votes, view=5: replay.prove("MAIN", {0: members}, chain.VOTES, [0, 0, view, 0, *votes])
        self.assertEqual(found(one, two), (0, 7, replay.O1, 5))
        self.assertIsNone(found(one, one))
        self.assertIsNone(found(one, two, view=6))
        registry = replay.Registry(10, "MAIN", sets={0: members})
        evidence = (chain.VOTES, [0, 0, 5, 0, one, two])
        self.assertEqual([registry.report(None, 0, evidence) for _ in range(2)], [True, False])

    def test_the_tree_is_that_of_its_leaves(self):
        leaves = {bytes([first]) + bytes(31): bytes([n]) * 32 for n, first in enumerate((0, 64, 65, 255))}
        inner = lambda left, right: sha3(b"JMT::IntrnalNode", left, right)
        low, middle, next_, high = leaves.values()
        pair = inner(middle, next_)
        for _ in range(5):      # 64 and 65 share the bits 01 and five zeros
            pair = inner(pair, replay.EMPTY)
        tree = None
        for key, leaf in reversed(leaves.items()):
            tree = replay.put(tree, key, leaf)
        self.assertEqual(tree[0], inner(inner(low, pair), high))


if __name__ == "__main__":
    unittest.main()
