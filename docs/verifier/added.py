"""Gates that a plan adds to the guide's. docs/gates.md, section 9. Values are integers: millionths."""
import math
import re
from itertools import groupby

import records

FAIL, UNKNOWN = "FAIL", "UNKNOWN"

ONE, LARGEST = 1_000_000, 1 << 53
INF = float("inf")
QUANTILES = {"p50": 500, "p90": 900, "p99": 990}
EACH = ("instant", "spread")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
TEXT = re.compile(r'[^\x00-\x1f\x7f-\x9f",{}=]{1,200}')
DECIMAL = re.compile(r"(-?)([0-9]+)(?:\.([0-9]{0,6}))?")


def millionths(text):
    """A decimal of a plan or an edge of a bucket; None if it is none."""
    found = DECIMAL.fullmatch(text) if isinstance(text, str) else None
    number = found and int(found[2] + (found[3] or "").ljust(6, "0"))
    return None if number is None or number > LARGEST else -number if found[1] else number


def sample(value):
    """A value of a scrape; None if it is no exact number."""
    if not math.isfinite(value) or abs(value) > LARGEST:
        return None
    if value == int(value):
        return int(value) * ONE
    scaled = abs(value * 1e6)
    rounded = math.floor(scaled)
    rounded += scaled - rounded >= 0.5
    return None if rounded > LARGEST else int(math.copysign(rounded, value))


def bound(value):
    number = millionths(str(value) if isinstance(value, int) and not isinstance(value, bool) else value)
    records.need(number is not None, "not a decimal number")
    return number


POLICY = records.record({
    **{key: records.Maybe(records.between(0, most), 0, null=False) for key, most in (
        ("for_s", 86_400), ("breaches", (1 << 32) - 1), ("breaches_max_permille", 1000), ("passes_at_end", 100_000))},
    **{key: records.Maybe(records.one_of("unknown", *more), "unknown", null=False) for key, more in (
        ("no_series", ("fail",)), ("not_a_number", ("fail",)), ("reset", ("fail", "restart")),
        ("several", ("sum", "largest", "smallest")))}})
GATE = records.record({
    "id": records.text, "title": records.text, "severity": records.one_of("hard", "soft", "informational"),
    "fact": records.one_of("instant", "delta", "rate", "p50", "p90", "p99", "spread", "without_progress"),
    "metric": records.text, "labels": records.Maybe(records.table(records.text), {}, null=False),
    "whose": records.Maybe(records.one_of("all", "validators", "rpc"), "all", null=False),
    "at_least": records.Maybe(bound), "at_most": records.Maybe(bound),
    "policy": records.Maybe(POLICY, POLICY({}), null=False)})


def gates(value):
    """The added gates of a plan, within their limits."""
    found = records.many(GATE)(value)
    records.need(len(found) <= 32 and len({gate["id"] for gate in found}) == len(found), "too many, or one id twice")
    for gate in found:
        low, high, policy = gate["at_least"], gate["at_most"], gate["policy"]
        records.need(re.fullmatch(r"X[1-9][0-9]?", gate["id"]) and TEXT.fullmatch(gate["title"])
                     and NAME.fullmatch(gate["metric"]) and len(gate["labels"]) <= 8
                     and all(NAME.fullmatch(k) and TEXT.fullmatch(v) for k, v in gate["labels"].items()),
                     "an id, title, metric or label that is none")
        records.need(not low is high is None and (None in (low, high) or low <= high), "no bound")
        records.need(low is None or gate["fact"] != "without_progress", "a bound that nothing breaks")
        records.need(gate["fact"] != "spread" or high is not None or low > 0, "a bound that nothing breaks")
        records.need(gate["fact"] in EACH or not any(policy[key] for key in (
            "for_s", "breaches", "breaches_max_permille", "passes_at_end")), "a policy of single scrapes")
    return found


def series_of(gate):
    return gate["metric"] + ("_bucket" if gate["fact"] in QUANTILES else "")


class Judge:
    """One added gate of a run; `findings` are (FAIL or UNKNOWN, why)."""

    def __init__(self, run, gate):
        self.run, self.gate, self.policy, self.findings = run, gate, gate["policy"], []
        meant = {"all": lambda node: True, "validators": lambda node: node["role"] == "validator",
                 "rpc": lambda node: node["role"] == "rpc"}[gate["whose"]]
        nodes = [node["name"] for node in run.plan["nodes"] if meant(node)]
        if not nodes:
            self.say(UNKNOWN, "no node of the plan is meant")
        rounds = {}
        for node in nodes:
            if run.hole(node):
                self.say(UNKNOWN, f"{node}: a hole in the scrapes")
            counted = [scrape for scrape in run.window_scrapes(node, run.warm) if not run.cut(node, scrape.at)]
            if not counted:
                self.say(UNKNOWN, f"{node}: no scrape counts")
                continue
            self.node(node, counted, rounds)
        if gate["fact"] == "spread":
            points = [(min(at for at, _ in found), max(v for _, v in found) - min(v for _, v in found))
                      for _, found in sorted(rounds.items()) if len(found) > 1]
            if not points:
                self.say(UNKNOWN, "no round of scrapes has two nodes to compare")
            self.each("all nodes", points)

    def say(self, verdict, why):
        self.findings.append((verdict, why))

    def node(self, node, counted, rounds):
        fact = self.gate["fact"]
        if fact in QUANTILES:
            return self.once(node, self.quantile(node, counted, QUANTILES[fact]))
        points = self.points(node, counted)
        if fact == "instant":
            self.each(node, [(at, value) for _, at, value in points])
        elif fact == "spread":
            for seq, at, value in points:
                rounds.setdefault(seq, []).append((at, value))
        elif fact == "without_progress":
            self.once(node, self.standstill(node, points))
        else:
            grown = self.growth(node, [(at, value) for _, at, value in points])
            self.once(node, grown and (grown[0] if fact == "delta" else grown[0] * 1000 // grown[1]))

    def fits(self, labels):
        return all(dict(labels).get(key) == value for key, value in self.gate["labels"].items())

    def points(self, node, counted):
        out = []
        for scrape in counted:
            found = [sample(value) for labels, value in scrape.labelled(series_of(self.gate)) if self.fits(labels)]
            if not found:
                self.say(FAIL if self.policy["no_series"] == "fail" else UNKNOWN, f"{node}: no such series")
            elif None in found:
                self.say(FAIL if self.policy["not_a_number"] == "fail" else UNKNOWN, f"{node}: no exact number")
            elif len(found) == 1:
                out.append((scrape.seq, scrape.at, found[0]))
            elif self.policy["several"] == "unknown":
                self.say(UNKNOWN, f"{node}: several series")
            else:
                take = {"sum": sum, "largest": max, "smallest": min}[self.policy["several"]]
                out.append((scrape.seq, scrape.at, take(found)))
        return out

    def growth(self, node, points):
        """(growth, milliseconds), None if it is not known."""
        grown = ms = 0
        for (then, old), (at, new) in zip(points, points[1:]):
            if self.run.overlaps(node, then, at):
                continue
            if new < old and self.policy["reset"] != "restart":
                self.say(FAIL if self.policy["reset"] == "fail" else UNKNOWN, f"{node}: it falls")
                return None
            grown += new if new < old else new - old
            ms += at - then
        if not ms:
            self.say(UNKNOWN, f"{node}: no two scrapes can be compared")
            return None
        return grown, ms

    def standstill(self, node, points):
        changes = [at for (_, _, old), (_, at, new) in zip(points, points[1:]) if new != old]
        times = [min(self.run.warm, self.run.end), *changes, self.run.end]
        return 1000 * max(max(0, b - a - self.run.excused(node, a, b)) for a, b in zip(times, times[1:]))

    def quantile(self, node, counted, permille):
        buckets = {}
        for scrape in counted:
            for labels, value in scrape.labelled(series_of(self.gate)):
                if not self.fits(labels):
                    continue
                text, value = dict(labels).get("le"), sample(value)
                edge = INF if text == "+Inf" else millionths(text)
                if edge is None or value is None:
                    self.say(FAIL if self.policy["not_a_number"] == "fail" else UNKNOWN, f"{node}: no number")
                    return None
                points = buckets.setdefault(edge, [])
                if points and points[-1][:2] == (scrape.seq, scrape.at):
                    if self.policy["several"] != "sum":
                        self.say(UNKNOWN, f"{node}: several series")
                        return None
                    points[-1] = (*points[-1][:2], points[-1][2] + value)
                else:
                    points.append((scrape.seq, scrape.at, value))
        if INF not in buckets or any(len(points) != len(counted) for points in buckets.values()):
            self.say(FAIL if self.policy["no_series"] == "fail" else UNKNOWN, f"{node}: not one histogram")
            return None
        counts = []
        for edge in sorted(buckets):
            grown = self.growth(node, [(at, value) for _, at, value in buckets[edge]])
            if grown is None:
                return None
            counts.append((edge, grown[0]))
        total = counts[-1][1]
        if total <= 0 or any(a > b for (_, a), (_, b) in zip(counts, counts[1:])):
            self.say(UNKNOWN, f"{node}: nothing observed, or buckets that contradict")
            return None
        rank = -(-total * permille // 1000)
        at = next(k for k, (_, count) in enumerate(counts) if count >= rank)
        edge, count = counts[at]
        below, under = counts[at - 1] if at else (0, 0)
        if edge != INF:
            below = min(below, edge)
            scaled = (edge - below) * (rank - under)
            return below + scaled // (count - under)
        finite = [edge for edge, _ in counts if edge != INF]
        low, high = self.gate["at_least"], self.gate["at_most"]
        if not finite:
            pass
        elif high is not None and finite[-1] >= high or high is None and (low is None or finite[-1] >= low):
            return finite[-1] + 1
        self.say(UNKNOWN, f"{node}: above the largest bucket")
        return None

    def within(self, value):
        low, high = self.gate["at_least"], self.gate["at_most"]
        return (low is None or value >= low) and (high is None or value <= high)

    def once(self, node, value):
        if value is not None and not self.within(value):
            self.say(FAIL, f"{node}: {value} millionths")

    def each(self, what, points):
        breaches = 0
        for is_within, stretch in groupby(points, lambda point: self.within(point[1])):
            stretch = list(stretch)
            if not is_within and stretch[-1][0] - stretch[0][0] >= 1000 * self.policy["for_s"]:
                breaches += len(stretch)
        share = self.policy["breaches_max_permille"]
        if breaches > self.policy["breaches"] or share and breaches * 1000 > share * len(points):
            self.say(FAIL, f"{what}: outside in {breaches} of {len(points)} scrapes")
        end = self.policy["passes_at_end"]
        if len(points) < end:
            self.say(UNKNOWN, f"{what}: fewer scrapes than must pass at the end")
        elif not all(self.within(value) for _, value in points[len(points) - end:]):
            self.say(FAIL, f"{what}: still outside at the end")
