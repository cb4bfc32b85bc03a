"""Gates that a plan adds to the guide's. docs/gates.md, section 9. Values are integers: millionths."""
import math
from itertools import groupby

from records import LARGEST, ONE, means, millionths

FAIL, UNKNOWN = "FAIL", "UNKNOWN"
INF = float("inf")
QUANTILES = {"p50": 500, "p90": 900, "p99": 990}
ABSENT, NOT_A_NUMBER = "no_series", "not_a_number"


def sample(value):
    """A value of a scrape in millionths; None if it is no exact number."""
    if not math.isfinite(value) or abs(value) > LARGEST:
        return None
    if value == int(value):
        return int(value) * ONE
    scaled = abs(value * 1e6)
    rounded = math.floor(scaled)
    rounded += scaled - rounded >= 0.5
    return None if rounded > LARGEST else int(math.copysign(rounded, value))


def count(value):
    """A value of a bucket; None if it is no whole number."""
    is_count = math.isfinite(value) and 0 <= value <= LARGEST and value == int(value)
    return int(value) if is_count else None


def series_of(gate):
    return gate["metric"] + ("_bucket" if gate["fact"] in QUANTILES else "")


class Judge:
    """One added gate of a run; `findings` are (FAIL or UNKNOWN, why)."""

    def __init__(self, run, gate):
        self.run, self.gate, self.policy, self.findings = run, gate, gate["policy"], []
        self.name, self.is_histogram = series_of(gate), gate["fact"] in QUANTILES
        self.nodes = [node["name"] for node in run.plan["nodes"] if means(gate, node)]
        self.rounds = {}
        for node in self.nodes:
            if run.hole(node):
                self.say(UNKNOWN, f"{node}: a hole in the scrapes")
            counted = [scrape for scrape in run.window_scrapes(node, run.warm) if not run.cut(node, scrape.at)]
            if counted:
                self.node(node, *self.table(node, counted))
            else:
                self.say(UNKNOWN, f"{node}: no scrape counts")
        if gate["fact"] == "spread":
            self.each("all nodes", self.spreads())

    def say(self, verdict, why):
        self.findings.append((verdict, why))

    def by_policy(self, key, why):
        self.say(FAIL if self.policy[key] == "fail" else UNKNOWN, why)

    def table(self, node, counted):
        """The scrapes that can be judged, (seq, time), and of each series, (labels, edge), its values in them."""
        scrapes, rows = [], {}
        for scrape in counted:
            found = self.read(scrape)
            if isinstance(found, str):
                self.by_policy(found, f"{node}: {found}") if found in self.policy else self.say(UNKNOWN, f"{node}: {found}")
            elif scrapes and found.keys() != rows.keys():
                self.by_policy(ABSENT, f"{node}: not the same series in each scrape")
            else:
                scrapes.append((scrape.seq, scrape.at))
                for key, value in found.items():
                    rows.setdefault(key, []).append(value)
        if self.policy["several"] == "unknown" and len({labels for labels, _ in rows}) > 1:
            self.say(UNKNOWN, f"{node}: several series")
            return [], {}
        return scrapes, rows

    def read(self, scrape):
        """Values by (labels, edge), or why there are none."""
        wanted = self.gate["labels"].items()
        meant = [(labels, value) for labels, value in scrape.labelled(self.name) if labels >= wanted]
        found = []
        for labels, value in meant:
            if self.is_histogram:
                text = dict(labels).get("le")
                edge = INF if text == "+Inf" else millionths(text)
                found.append((frozenset(labels - {("le", text)}), edge, count(value)))
                if edge is None:
                    return NOT_A_NUMBER
            else:
                found.append((labels, 0, sample(value)))
            if found[-1][2] is None:
                return NOT_A_NUMBER
        by_key = {(labels, edge): value for labels, edge, value in found}
        return ABSENT if not found else by_key if len(by_key) == len(found) else "a bucket twice"

    def node(self, node, scrapes, rows):
        fact = self.gate["fact"]
        if not rows:
            return
        points = [(seq, at, self.combined(row[n] for row in rows.values())) for n, (seq, at) in enumerate(scrapes)]
        if fact == "instant":
            self.each(node, [(at, value) for _, at, value in points])
        elif fact == "spread":
            for seq, at, value in points:
                self.rounds.setdefault(seq, []).append((at, value))
        elif fact == "without_progress":
            self.once(node, self.standstill(node, scrapes, rows))
        elif fact in QUANTILES:
            self.quantile(node, self.growth(node, scrapes, rows), QUANTILES[fact])
        else:
            grown = self.growth(node, scrapes, rows)
            by = (lambda grown, ms: grown) if fact == "delta" else (lambda grown, ms: grown * 1000 // ms)
            self.once(node, grown and self.combined(by(value, ms) for kind, ms in grown for value in kind.values()))

    def combined(self, values):
        return {"sum": sum, "smallest": min}.get(self.policy["several"], max)(values)

    def kinds(self, rows):
        """The buckets of each histogram, or each series by itself."""
        out = {}
        for (labels, edge), row in rows.items():
            out.setdefault(labels, {})[edge] = row
        return out.values()

    def falls(self, node):
        """Whether a counter that fell ends the fact."""
        if self.policy["reset"] != "restart":
            self.by_policy("reset", f"{node}: it falls")
            return True
        return False

    def growth(self, node, scrapes, rows):
        """[(growth by edge, milliseconds)] of each kind, None if it is not known."""
        times = [at for _, at in scrapes]
        uncut = [n for n in range(1, len(times)) if not self.run.overlaps(node, times[n - 1], times[n])]
        ms = sum(times[n] - times[n - 1] for n in uncut)
        if not ms:
            self.say(UNKNOWN, f"{node}: no two scrapes can be compared")
            return None
        out = []
        for kind in self.kinds(rows):
            grown = dict.fromkeys(kind, 0)
            for n in uncut:
                fell = any(row[n] < row[n - 1] for row in kind.values())
                if fell and self.falls(node):
                    return None
                for edge, row in kind.items():
                    grown[edge] += row[n] if fell else row[n] - row[n - 1]
            out.append((grown, ms))
        return out

    def standstill(self, node, scrapes, rows):
        longest = []
        for row in rows.values():
            times = [min(self.run.warm, self.run.end)]
            for n, (old, new) in enumerate(zip(row, row[1:])):
                is_cut = self.run.overlaps(node, scrapes[n][1], scrapes[n + 1][1])
                if new < old and not is_cut and self.falls(node):
                    return None
                if new != old:
                    times.append(scrapes[n + 1][1])
            times.append(self.run.end)
            longest.append(max(max(0, b - a - self.run.excused(node, a, b)) for a, b in zip(times, times[1:])))
        return 1000 * self.combined(longest)

    def quantile(self, node, grown, permille):
        if grown is None:
            return
        counts = {}
        for kind, _ in grown:
            if kind.keys() != grown[0][0].keys() or INF not in kind:
                return self.say(UNKNOWN, f"{node}: other buckets, or none for all")
            for edge, value in kind.items():
                counts[edge] = counts.get(edge, 0) + value
        edges = sorted(counts)
        total = counts[INF]
        if any(counts[a] > counts[b] for a, b in zip(edges, edges[1:])):
            return self.say(UNKNOWN, f"{node}: buckets that contradict each other")
        if total * (1000 - permille) < 1000:
            return self.say(UNKNOWN, f"{node}: too few observations")
        rank = -(-total * permille // 1000)
        upto = next(edge for edge in edges if counts[edge] >= rank)
        above = max((edge for edge in edges if edge < upto), default=-INF)
        low, high = self.gate["at_least"], self.gate["at_most"]
        if high is not None and above >= high or low is not None and upto <= low:
            self.say(FAIL, f"{node}: above {above} and not above {upto}")
        elif high is not None and upto > high or low is not None and above < low:
            self.say(UNKNOWN, f"{node}: the bound is between {above} and {upto}")

    def spreads(self):
        """(time, largest less smallest) of each round, by time."""
        asked = {node: self.run.asked[node] for node in self.nodes}
        out = []
        for seq, points in self.rounds.items():
            if any(seq not in seqs for seqs in asked.values()):
                self.say(UNKNOWN, f"round {seq}: a node was not asked")
            first, last = min(points)[0], max(points)[0]
            if last - first > self.run.plan["live"]["scrape_interval_ms"]:
                self.say(UNKNOWN, f"round {seq} took {last - first} ms")
            values = [value for _, value in points]
            if len(values) > 1:
                out.append((first, seq, max(values) - min(values)))
        if not out:
            self.say(UNKNOWN, "no round of scrapes has two nodes to compare")
        return [(at, value) for at, _, value in sorted(out)]

    def within(self, value):
        low, high = self.gate["at_least"], self.gate["at_most"]
        return (low is None or value >= low) and (high is None or value <= high)

    def once(self, node, value):
        if value is not None and not self.within(value):
            self.say(FAIL, f"{node}: {value} millionths")

    def each(self, what, points):
        """Compares each (time, value)."""
        policy, breaches = self.policy, 0
        for is_within, stretch in groupby(points, key=lambda point: self.within(point[1])):
            stretch = list(stretch)
            if not is_within and stretch[-1][0] - stretch[0][0] >= 1000 * policy["for_s"]:
                breaches += len(stretch)
        most, share = policy["breaches"], policy["breaches_max_permille"]
        if breaches and (most == share == 0 or 0 < most < breaches or 0 < share * len(points) < 1000 * breaches):
            self.say(FAIL, f"{what}: outside in {breaches} of {len(points)} scrapes")
        if len(points) < policy["passes_at_end"]:
            self.say(UNKNOWN, f"{what}: too few scrapes")
        elif not all(self.within(value) for _, value in points[len(points) - policy["passes_at_end"]:]):
            self.say(FAIL, f"{what}: outside at the end")
