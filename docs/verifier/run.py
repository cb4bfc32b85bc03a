"""What several gates need of a run: plan, window, cuts, feeds, scrapes. docs/gates.md, sections 2 and 3."""
import bisect
import math
import re
import unicodedata
from collections import defaultdict
from functools import cached_property

import added
import records
from records import lines, whole
from statements import compact

BODY_MAX = 1 << 20
FAIL, INVALID, UNKNOWN, PASS = "FAIL", "INVALID", "UNKNOWN", "PASS"
TIME_MAX = 1 << 44
START_SLACK_MS, LENGTH_SLACK_MS, SHORT_SLACK_MS, WINDOW_SLACK_MS = 5_000, 10_000, 1_000, 60_000
DEAD_AFTER_MS, DEAD_UNTIL_MS = 2_000, 1_000     # a killed node answers no poll from then to then
ANSWER_LINES = 900
VIEW_CHANGES, VIEW = "qbind_consensus_view_changes_total", "qbind_consensus_current_view"
EQUIVOCATIONS = "qbind_consensus_validator_equivocations_total"
VIOLATIONS = "qbind_consensus_safety_violations_total"
MISMATCH = "qbind_dag_coupling_block_mismatch_total"
ASN = "qbind_anti_eclipse_asn_diversity"
CONNECTED, OUTBOUND = "qbind_p2p_connected_peers", "qbind_p2p_outbound_peers"
SERIES = (VIEW_CHANGES, VIEW, EQUIVOCATIONS, VIOLATIONS, MISMATCH, ASN, CONNECTED, OUTBOUND)
NAME = re.compile("[A-Za-z0-9_:]*")
SAMPLE = re.compile(r"([A-Za-z0-9_]+)(?:\{([^}]+)\})?\s+(\S+)(?:\s.*)?")
FLOAT = re.compile(r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|nan|inf|infinity)", re.I | re.A)


class Scrape:
    """One successful scrape: its time and the values of each series."""

    def __init__(self, at, seq, series):
        self.at, self.seq = at, seq
        self._labelled, self.series = series, {name: [value for _, value in found] for name, found in series.items()}

    def labelled(self, name):
        """(labels, value) of each series."""
        return self._labelled.get(name, [])

    @staticmethod
    def integer(value):
        return int(value) if math.isfinite(value) and value == int(value) and abs(value) <= 1 << 53 else None

    def scalar(self, name):
        found = self.series.get(name, [])
        return self.integer(found[0]) if len(found) == 1 else None

    def sum(self, name):
        found = [self.integer(value) for value in self.series.get(name, [])]
        return sum(found) if found and None not in found else None


def is_odd(sign):
    """White space and control signs that people do not see."""
    return sign not in " \t" and (sign.isspace() or unicodedata.category(sign) == "Cc")


def parse_body(body, wanted=SERIES):
    """(labels, value) by name, None if the body is damaged."""
    seen, out = set(), defaultdict(list)
    for line in body.split("\n"):
        line = line.removesuffix("\r").strip(" \t")
        if NAME.match(line)[0] not in wanted:
            continue
        found = None if any(map(is_odd, line)) else SAMPLE.fullmatch(line)
        if not found or not FLOAT.fullmatch(found[3]):
            return None
        name, labels, value = found.group(1, 2, 3)
        pairs = [part.split("=") for part in (labels or "").split(",")]
        key = name, frozenset({pair[0]: pair[1].strip('"') for pair in pairs if len(pair) == 2 and pair[0]}.items())
        if key in seen:
            return None
        seen.add(key)
        out[name].append((key[1], float(value)))
    return out


class Feed:
    """The commit feed of a node."""

    def __init__(self, rows):
        self.polls, self.gaps = (sorted(row["at_unix_ms"] for row in rows if row["kind"] == kind)
                                 for kind in ("poll", "gap"))
        self.commits, self.changed = {}, False
        for row in rows:
            if row["kind"] == "commit":
                first = self.commits.setdefault(row["height"], row)
                self.changed |= any(row[key] != first[key] for key in ("block_id", "state_root", "system_root"))
        self.tip = max(self.commits, default=0)
        self._contradictions(rows)

    def _contradictions(self, rows):
        """Whether the node withholds heights, and by how much its clock runs behind or ahead of ours."""
        self.withholds, self.backdated, self.postdated = False, 0, 0
        poll, answered, handed, whole = None, 0, 0, None     # `whole`: time and height of the latest whole poll
        for row in [*rows, {"kind": "gap"}]:
            if row["kind"] == "commit":
                handed, answered = max(handed, row["height"]), answered + 1
                if whole and row["height"] > whole[1]:
                    self.backdated = max(self.backdated, whole[0] - row["committed_unix_ms"])
                self.postdated = max(self.postdated, row["committed_unix_ms"] - row["seen_unix_ms"])
                continue
            if poll and handed >= poll["tip"]:
                whole = poll["at_unix_ms"], handed
            elif poll and answered < ANSWER_LINES:
                self.withholds = True
            poll, answered = (row if row["kind"] == "poll" else None), 0

    def knows(self, at):
        return bool(self.polls) and self.polls[-1] >= at

    @cached_property
    def _clock(self):
        times, tops, top = [], [0], 0
        for at, height in sorted((row["committed_unix_ms"], height) for height, row in self.commits.items()):
            top = max(top, height)
            times.append(at)
            tops.append(top)
        return times, tops

    def commits_between(self, begin, end):
        """Whether a commit was made after `begin` and before `end`."""
        times, _ = self._clock
        return bisect.bisect_right(times, begin) < bisect.bisect_left(times, end)

    def height(self, at):
        times, tops = self._clock
        return tops[bisect.bisect_right(times, at)]


class Run:
    """The files of a run, each read when first asked for."""

    def __init__(self, files):
        self.files = files
        self.plan = whole(files, "plan.yaml", records.plan, records.parse_yaml)
        if self.plan:
            self.bounds = self.plan["bounds"]
            self.nodes = [node["name"] for node in self.plan["nodes"]]
            self.validators = [node for node in self.plan["nodes"] if node["role"] == "validator"]
            self._window()

    def _window(self):
        self.live = whole(self.files, "faults/live.json", records.LIVE)
        self.cuts, self.absences = ({node: [] for node in self.nodes} for _ in range(2))
        self.window_fault = self._window_fault()
        if self.window_fault:
            return
        for plan, done in self.faults:
            cut = done["from_unix_ms"], done["healed_unix_ms"] + plan["recovery_ms"]
            for node in set(self.nodes):
                if node in done["nodes"] or plan["expectation"] == "halts_until_healed":
                    self.cuts[node].append(cut)
                if node in done["nodes"] and plan["kind"] != "loss_burst":
                    self.absences[node].append(cut)
        for cuts in self.cuts.values():
            cuts.sort()

    def _window_fault(self):
        """What is wrong with the window, as a finding; None if nothing is."""
        live, plan = self.live, self.plan
        if live is None or live["schema"] != "qbind.live/v1":
            return UNKNOWN, "faults/live.json: absent, damaged or of another schema"
        self.start, self.end = live["started_unix_ms"], live["ended_unix_ms"]
        self.warm = self.start + 1000 * plan["live"]["warmup_s"]
        length, planned = self.end - self.start, 1000 * plan["live"]["window_s"]
        if self.end > TIME_MAX or length < 0 or not planned - SHORT_SLACK_MS <= length <= planned + WINDOW_SLACK_MS:
            return INVALID, "faults/live.json: the window is too short or too long"
        if {fault["id"] for fault in live["faults"]} - {fault["id"] for fault in plan["faults"]}:
            return INVALID, "faults/live.json: a fault nobody planned"
        self.faults = []
        for fault in plan["faults"]:
            found = [done for done in live["faults"] if done["id"] == fault["id"]]
            if len(found) != 1 or not self._as_planned(fault, found[0]):
                return INVALID, f"faults/live.json: {fault['id']} was not done as planned"
            if self._unseen(fault, found[0]):
                return INVALID, f"faults/live.json: {fault['id']} left no trace"
            self.faults.append((fault, found[0]))
        return None

    def _as_planned(self, plan, done):
        begin, end, nodes = done["from_unix_ms"], done["healed_unix_ms"], done["nodes"]
        if plan["kind"] == "kill_leader":
            right = len(nodes) == 1 and nodes[0] in {node["name"] for node in self.validators}
        else:
            right = sorted(nodes) == sorted(plan["affected"])
        return (done["done"] and right and abs(begin - self.start - plan["at_ms"]) <= START_SLACK_MS
                and begin <= end <= TIME_MAX
                and plan["duration_ms"] - SHORT_SLACK_MS <= end - begin <= plan["duration_ms"] + LENGTH_SLACK_MS)

    def _unseen(self, plan, done):
        """Whether what was recorded of the run says that a fault was not done."""
        begin, end = done["from_unix_ms"], done["healed_unix_ms"]
        if plan["kind"] == "kill_leader":
            feed = self.feeds.get(done["nodes"][0])
            return feed is not None and (
                any(begin + DEAD_AFTER_MS <= at < end - DEAD_UNTIL_MS for at in feed.polls)
                or not any(begin <= at <= end for at in feed.gaps))
        if self.plan["target"] != "lab" or None in (self.snapshots["live-start"], self.snapshots["live-end"]):
            return False
        counter = "lost_partition" if plan["kind"] == "cut_region" else "lost_random"
        for link in self.plan["links"]:
            ends = {link["from"], link["to"]}
            hit = plan["region"] in ends if plan["kind"] == "cut_region" else ends == {plan["from"], plan["to"]}
            old, new = (self.snapshot_link(name, link) for name in ("live-start", "live-end"))
            if not (hit and old and new):
                continue
            packets = max(0, new["packets_in"] - old["packets_in"])
            sure = plan["kind"] == "cut_region" or (
                packets * plan["duration_ms"] * (plan["loss_bps"] or 0)
                >= 20 * 10_000 * 1000 * self.plan["live"]["window_s"])
            if sure and new[counter] <= old[counter]:
                return True
        return False

    @cached_property
    def snapshots(self):
        """What was counted on the links: by snapshot, None where there is none, by (from, to) the first item."""
        found = {name: whole(self.files, f"links/{name}.json", records.SNAPSHOT)
                 for name in ("measure-start", "measure-end", "live-start", "live-end")}
        return {name: value and {(item["from"], item["to"]): item for item in reversed(value["links"])}
                for name, value in found.items()}

    def snapshot_link(self, name, link):
        """What a snapshot says of a link, None if it says nothing."""
        return (self.snapshots[name] or {}).get((link["from"], link["to"]))

    def cut(self, node, at):
        return self.overlaps(node, at, at)

    def cut_any(self, at):
        return any(self.cut(node, at) for node in self.nodes)

    def overlaps(self, node, begin, end):
        return any(since <= end and begin <= until for since, until in self.cuts.get(node, ()))

    def others_absent(self, node, at):
        """How many other nodes are killed or cut off at an instant."""
        return sum(any(since <= at <= until for since, until in self.absences[other])
                   for other in self.nodes if other != node)

    def excused(self, node, begin, end):
        at, total = begin, 0
        for since, until in self.cuts[node]:
            low, high = max(since, at), min(until, end)
            if low < high:
                total, at = total + high - low, high
        return total

    def hole(self, node):
        """Whether the scrapes of a node leave a gap in the window that no cut excuses."""
        return self.gap(node, [scrape.at for scrape in self._fresh(node)])

    def gap(self, node, times):
        """Whether times in the window are further apart than allowed, cuts of the node left out."""
        edges = [self.start, *times, self.end]
        return not times or any(b - a - self.excused(node, a, b) > self.bounds["scrape_gap_max_ms"]
                                for a, b in zip(edges, edges[1:]))

    def _fresh(self, node):
        """The scrapes of a node in the window without stale ones: the same view, though a block was committed."""
        last, feed = None, self.feeds.get(node)
        for scrape in self.window_scrapes(node, self.start):
            view = scrape.scalar(VIEW)
            if view is not None:
                if last and feed and view == last.scalar(VIEW) and feed.commits_between(last.at, scrape.at):
                    continue
                last = scrape
            yield scrape

    @cached_property
    def feeds(self):
        found = {node: lines(self.files, f"commits/{node}.jsonl", records.commit_line) for node in self.nodes}
        return {node: Feed(rows) for node, rows in found.items() if rows is not None}

    def tip(self, node):
        """The tip of a node's feed, 0 without one."""
        return self.feeds[node].tip if node in self.feeds else 0

    @cached_property
    def common(self):
        return min((feed.tip for feed in self.feeds.values()), default=0)

    @cached_property
    def index(self):
        """The lines of the index, none if it names one scrape twice."""
        rows = lines(self.files, "scrapes/index.jsonl", records.SCRAPE) or []
        return rows if len({(row["node"], row["seq"]) for row in rows}) == len(rows) else []

    @cached_property
    def asked(self):
        """The rounds in which each node was asked."""
        out = defaultdict(set)
        for row in self.index:
            out[row["node"]].add(row["seq"])
        return out

    @cached_property
    def scrapes(self):
        """The successful scrapes of each node by time."""
        out = {node: [] for node in self.nodes}
        wanted = {*SERIES, *map(added.series_of, self.plan["added_gates"])}
        for row in self.index:
            name = f"scrapes/{row['node']}/{row['seq']:06}.txt"
            is_small = name in self.files and self.files.size(name) <= BODY_MAX
            if row["node"] in out and row["status"] == 200 and row["file"] == name and is_small:
                body = whole(self.files, name, lambda text: parse_body(text, wanted), str)
                if body is not None:
                    out[row["node"]].append(Scrape(row["at_unix_ms"], row["seq"], body))
        for found in out.values():
            found.sort(key=lambda scrape: scrape.at)
        return out

    def window_scrapes(self, node, since):
        return [scrape for scrape in self.scrapes[node] if since <= scrape.at <= self.end]

    @cached_property
    def claims(self):
        """What each node says of the transactions of its blocks."""
        return {node: lines(self.files, f"transactions/{node}.jsonl", records.CLAIM) for node in self.nodes}

    @cached_property
    def configs(self):
        """The configuration of each node, None where there is none."""
        out = {}
        for node in self.nodes:
            value = whole(self.files, f"config/{node}.json", records.free)
            out[node] = value["config"] if isinstance(value, dict) and "config" in value else value
        return out

    def mode(self, node, key):
        """The word of a key of a node's configuration, None if it has none."""
        config = self.configs[node]
        return word(config[key]) if isinstance(config, dict) and config.get(key) is not None else None

    @cached_property
    def summary(self):
        return whole(self.files, "load/summary.json", records.SUMMARY)

    @cached_property
    def transfers(self):
        return lines(self.files, "load/transactions.jsonl", records.TRANSFER) or []


def word(value):
    """The one spelling of a configured word."""
    value = value if isinstance(value, str) else compact(value).decode()
    return re.sub("(?<!^)(?<!-)(?=[A-Z])", "-", value).translate(LOWER)


LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", "abcdefghijklmnopqrstuvwxyz-")
