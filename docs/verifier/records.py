"""Reads the raw files of a run by the forms of docs/gates.md, section 2; what breaks its form is damaged."""
import json
import re

import yaml

FILE_MAX = 1 << 30


class Damaged(ValueError):
    """The file breaks its form and counts as absent."""


class Twice(dict):
    """An object of JSON or YAML in which some key stands twice; the last value holds."""

    def __init__(self, pairs):
        super().__init__(pairs)
        seen = set()
        self.twice = {key for key, _ in pairs if key in seen or seen.add(key)}


def mapping(pairs):
    found = dict(pairs)
    return found if len(found) == len(pairs) else Twice(pairs)


def no_number(text):
    raise Damaged(f"{text} is no number")


def parse_json(text):
    """Any JSON value."""
    try:
        return json.loads(text, object_pairs_hook=mapping, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"not JSON: {error}") from None


class Scalar(str):
    """A scalar of YAML: text where text is asked for, and a number where a number is."""

    def number(self):
        return int(self) if re.fullmatch("-?(0|[1-9][0-9]{0,30})", self) else self


# Forms: each takes a value and gives what it means, or raises Damaged.

def need(is_right, what):
    if not is_right:
        raise Damaged(what)


def number(bits):
    def read(value):
        value = value.number() if isinstance(value, Scalar) else value
        need(type(value) is int and 0 <= value < 1 << bits, f"not a number below 2^{bits}")
        return value
    return read


def between(low, high):
    def read(value):
        value = value.number() if isinstance(value, Scalar) else value
        need(type(value) is int and low <= value <= high, f"not from {low} to {high}")
        return value
    return read


def text(value):
    need(isinstance(value, str), "not text")
    return str(value)


def flag(value):
    need(isinstance(value, bool), "not true or false")
    return value


def free(value):
    """Any JSON; of two equal keys the last holds."""
    if isinstance(value, dict):
        return {key: free(item) for key, item in value.items()}
    return [free(item) for item in value] if isinstance(value, list) else value


def digits(count):
    """`count` bytes as hexadecimal digits."""
    shape = re.compile(f"(?:0x)?([0-9a-fA-F]{{{2 * count}}})")

    def read(value):
        found = shape.fullmatch(text(value))
        need(found, f"not {count} bytes in hexadecimal digits")
        return bytes.fromhex(found[1])
    return read


def decimal(bits):
    """A number as decimal text."""
    def read(value):
        need(isinstance(value, str) and re.fullmatch("[0-9]{1,60}", value), "not a decimal number")
        return number(bits)(int(value))
    return read


def one_of(*values):
    def read(value):
        need(isinstance(value, type(values[0])) and value in values, f"not one of {values}")
        return value
    return read


def many(form):
    def read(value):
        need(isinstance(value, list), "not a list")
        return [form(item) for item in value]
    return read


class Maybe:
    """A form that may be missing, then giving `default`, and null unless told otherwise."""

    def __init__(self, form, default=None, null=True):
        self.form, self.default, self.null = form, default, null


def record(fields, more=False):
    """An object with exactly these keys; `more` allows and ignores others."""
    def read(value):
        need(isinstance(value, dict), "not an object")
        if not more:
            need(value.keys() <= fields.keys(), "an unknown key")
        need(not getattr(value, "twice", set()) & fields.keys(), "a key stands twice")
        out = {}
        for key, form in fields.items():
            if isinstance(form, Maybe):
                absent = key not in value or form.null and value[key] is None
                out[key] = form.default if absent else form.form(value[key])
            else:
                need(key in value, f"{key} is missing")
                out[key] = form(value[key])
        return out
    return read


def table(form):
    """An object of any keys."""
    def read(value):
        need(isinstance(value, dict) and not isinstance(value, Twice), "not an object, or a key stands twice")
        return {key: form(item) for key, item in value.items()}
    return read


U16, U32, U64, HASH = number(16), number(32), number(64), digits(32)


def parse_yaml(data):
    """One YAML document."""
    made = {}

    def build(node):
        if id(node) not in made:
            made[id(node)] = make(node)
        return made[id(node)]

    def make(node):
        if isinstance(node, yaml.MappingNode):
            return mapping([(key_of(key), build(value)) for key, value in node.value])
        if isinstance(node, yaml.SequenceNode):
            return [build(item) for item in node.value]
        return None if node.style is None and node.value in ("null", "~", "") else Scalar(node.value)

    def key_of(node):
        need(isinstance(node, yaml.ScalarNode), "a key that is no text")
        return node.value

    try:
        return build(yaml.compose(data, Loader=yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError, AttributeError) as error:
        raise Damaged(f"not YAML: {error}") from None


# Whole files: None if absent or damaged.

def raw(files, name):
    """The bytes of a file, None if absent or damaged."""
    if name not in files or files.index[name][1] > FILE_MAX:
        return None
    return files.read(name)


def whole(files, name, form, parse=parse_json):
    data = raw(files, name)
    try:
        return None if data is None else form(parse(data.decode()))
    except (ValueError, RecursionError):
        return None


def lines(files, name, form):
    """What the lines of a JSON-lines file mean, None if one of them is bad."""
    data = raw(files, name)
    try:
        if data is None:
            return None
        rows = data.decode().split("\n")
        if not rows[-1]:
            rows.pop()
        return [form(parse_json(row.removesuffix("\r"))) for row in rows]
    except (ValueError, RecursionError):
        return None


# The forms of section 2.

COMMIT = {
    "poll": record({"kind": text, "at_unix_ms": U64, "duration_ms": U64, "tip": U64}),
    "gap": record({"kind": text, "at_unix_ms": U64, "duration_ms": U64, "error": text}),
    "commit": record({"kind": text, "height": U64, "view": U64, "block_id": HASH, "state_root": HASH,
                      "system_root": HASH, "committed_unix_ms": U64, "transactions": U64, "seen_unix_ms": U64}),
}


def commit_line(value):
    kind = value.get("kind") if isinstance(value, dict) else None
    need(isinstance(kind, str) and kind in COMMIT, "of no kind")
    return COMMIT[kind](value)


CLAIM = record({"height": U64, "transactions": U64, "ids_sha3": text, "success": text})
SCRAPE = record({"node": text, "seq": U64, "at_unix_ms": U64, "duration_ms": U64, "status": Maybe(U16), "bytes": U64,
                 "file": Maybe(text), "error": Maybe(text)})
ANSWER = record({"seq": U64, "at_unix_ms": U64, "body": Maybe(free), "error": Maybe(text)})
LIVE = record({"schema": text, "started_unix_ms": U64, "ended_unix_ms": U64, "faults": many(record({
    "id": text, "nodes": many(text), "from_unix_ms": U64, "healed_unix_ms": U64, "done": flag,
    "note": Maybe(text, "", null=False)}))})
SUMMARY = record({
    **dict.fromkeys(("started_unix_ms", "window_ms", "ended_unix_ms", "rate_per_second", "offered", "submitted",
                     "accepted", "rejected", "committed", "lost", "duplicated", "resubmitted", "late_sends",
                     "tps_milli"), U64),
    "schema": text, "targets": many(text), "followed": many(text),
    "codes": table(U64),
    "latency_us": record(dict.fromkeys(("p50", "p90", "p99", "max"), U64)),
    "series": many(record(dict.fromkeys(("second", "offered", "accepted", "committed"), U64)))})
FATES = ("committed", "duplicated", "lost", "rejected", "unanswered", "skipped")
TRANSFER = record({"n": U64, "id": HASH, "account": U32, "nonce": U64, "node": text, "scheduled_us": U64,
                   "sent_us": Maybe(U64), "accepted_us": Maybe(U64), "committed_us": Maybe(U64), "height": Maybe(U64),
                   "submissions": U32, "fate": one_of(*FATES), "code": Maybe(text)})


def bin_of(value):
    need(isinstance(value, list) and len(value) == 2, "not a bin")
    return U64(value[0]), U64(value[1])


SNAPSHOT = record({"links": many(record({
    "from": text, "to": text, **dict.fromkeys(("packets_in", "delivered", "lost_random", "lost_queue",
                                               "lost_partition"), U64),
    "datagram_delay_bins": many(bin_of), "ordered_delay_bins": many(bin_of)}, more=True))}, more=True)
GENESIS = record({
    "network": one_of("devnet", "testnet", "mainnet"), "epoch_blocks": Maybe(U64, 2400, null=False),
    "allocations": many(record({"address": HASH, "amount": decimal(128), "lockup_until_unix_ms": Maybe(U64)},
                               more=True)),
    "validators": many(record({
        "id": U64, "address": HASH, "pqc_public_key": digits(1312), "stake": decimal(64)}, more=True))}, more=True)
BOUNDS = {  # default, least, most
    "height_divergence_normal_blocks": (5, 0, 1_000_000), "height_divergence_stress_blocks": (10, 0, 1_000_000),
    "align_ms": (1000, 100, 60_000), "outbound_peers_min": (4, 0, 1000), "asn_diversity_min": (2, 0, 1000),
    "outbound_target": (8, 0, 1000), "tps_min_permille": (500, 1, 1_000_000), "tps_max_permille": (2000, 1, 1_000_000),
    "latency_max_permille": (2000, 1, 1_000_000), "latency_min_permille": (500, 1, 1_000_000),
    "commit_p99_max_ms": (10_000, 1, 3_600_000), "view_changes_base_permille": (20, 0, 1_000_000),
    "view_changes_per_fault": (20, 0, 1_000_000), "floor_max_permille": (2000, 1, 1_000_000),
    "link_delay_tolerance_us": (1000, 0, 10_000_000), "link_jitter_tolerance_permille": (100, 0, 1000),
    "scrape_gap_max_ms": (15_000, 0, 3_600_000), "latency_samples_min": (500, 1, 5_000_000),
    "tps_seconds_min": (20, 1, 86_400), "bootstrap_resamples": (400, 40, 1000), "bootstrap_block_s": (5, 1, 3600)}
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
ONE, LARGEST = 1_000_000, 1 << 53       # bounds of added gates are millionths
NAME = re.compile("[A-Za-z_][A-Za-z0-9_]{0,199}")
SIGNS = re.compile("[^\x00-\x1f\x7f-\x9f\",{}=\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
DECIMAL = re.compile("(-?)([0-9]{1,10})(?:[.]([0-9]{1,6}))?")


def millionths(text):
    """A decimal of a plan, or the edge of a bucket; None if it is none."""
    found = DECIMAL.fullmatch(text) if isinstance(text, str) else None
    number = found and int(found[2] + (found[3] or "").ljust(6, "0"))
    return None if number is None or number > LARGEST else -number if found[1] else number


def bound(value):
    found = millionths(value)
    need(found is not None, "not a decimal number")
    return found


def words(value):
    """Text that can be shown."""
    need(len(text(value).encode()) <= 200 and SIGNS.fullmatch(value), "text that cannot be shown, or is long or empty")
    return str(value)


def name(value):
    need(NAME.fullmatch(text(value)), "not a name")
    return str(value)


POLICY = record({
    **{key: Maybe(between(0, most), 0, null=False) for key, most in (
        ("for_s", 86_400), ("breaches", (1 << 32) - 1), ("breaches_max_permille", 1000), ("passes_at_end", 100_000))},
    **{key: Maybe(one_of("unknown", *more), "unknown", null=False) for key, more in (
        ("no_series", ("fail",)), ("not_a_number", ("fail",)), ("reset", ("fail", "restart")),
        ("several", ("sum", "largest", "smallest")))}})
ADDED_GATE = record({
    "id": text, "title": words, "severity": one_of("hard", "soft", "informational"),
    "fact": one_of("instant", "delta", "rate", "p50", "p90", "p99", "spread", "without_progress"),
    "metric": name, "labels": Maybe(table(words), {}), "whose": Maybe(one_of("all", "validators", "rpc"), "all", null=False),
    "at_least": Maybe(bound), "at_most": Maybe(bound), "policy": Maybe(POLICY, POLICY({}))})


def added_gate(value):
    """A gate that a plan adds, within its limits."""
    gate = ADDED_GATE(value)
    fact, low, high, policy = (gate[key] for key in ("fact", "at_least", "at_most", "policy"))
    quantile, each = fact in ("p50", "p90", "p99"), fact in ("instant", "spread")
    need(re.fullmatch("X[1-9][0-9]?", gate["id"]), "an id that is none")
    need(len(gate["labels"]) <= 8 and all(map(NAME.fullmatch, gate["labels"])), "labels that are none")
    need(not low is high is None and (None in (low, high) or low <= high), "no bound")
    idle = high is None and low <= 0
    need(not (fact == "without_progress" and low is not None or fact == "spread" and idle
              or fact in ("delta", "rate") and idle and policy["reset"] != "fail"), "a bound that nothing breaks")
    need(each or not any(policy[key] for key in ("for_s", "breaches", "breaches_max_permille", "passes_at_end")),
         "a policy of single scrapes")
    need(policy["reset"] == "unknown" or not each, "a reset where nothing can fall")
    need(not (quantile and policy["several"] in ("largest", "smallest")
              or fact == "without_progress" and policy["several"] == "sum"), "several that the fact has not")
    return gate


def added_gates(value):
    found = many(added_gate)(value)
    need(len(found) <= 32 and len({gate["id"] for gate in found}) == len(found), "too many gates, or one id twice")
    return found


def means(gate, node):
    """Whether a gate is about a node of the plan."""
    return gate["whose"] == "all" or node["role"] == {"validators": "validator", "rpc": "rpc"}[gate["whose"]]


NODES_MAX, FAULTS_MAX, LINKS_MAX, OFFERED_MAX = 1000, 100, 1000, 5_000_000
VALIDATORS_MAX, INSTANTS_MAX = 256, 20_000_000
PLAN_FORM = record({
    "schema": one_of("qbind.plan/v1"), "name": text, "target": one_of("lab", "inventory"),
    "form": one_of("quick", "full"), "gate_type": one_of("mainnet_launch", "class_c_upgrade", "post_incident"),
    "seed": U64, "topology": record({"name": text, "sha3": text}),
    "genesis": record({"sha3": HASH, "network": one_of("devnet", "testnet", "mainnet"), "chain_id": text}),
    "binaries": many(record({"name": text, "sha3": text})),
    "regions": many(record({"id": text, "continent": text})),
    "nodes": many(record({"name": text, "region": text, "role": one_of("validator", "rpc", "sentry"),
                          "validator_id": Maybe(U64), "power": Maybe(U64), "http": text})),
    "links": many(record({"from": text, "to": text, "delay_us": between(0, 10_000_000),
                          "jitter_us": between(0, 10_000_000), "loss_bps": between(0, 10_000)})),
    "measure": record(dict.fromkeys(("probes_per_pair", "rate_per_second", "warmup_probes", "payload_bytes"), U32)),
    "steps": record({"form": one_of("short", "long")}),
    "load": record({"rate_per_second": between(0, 100_000),
                    **dict.fromkeys(("accounts", "drain_s", "resubmit_after_s"), U32)}),
    "live": record({"window_s": between(1, 86_400), "warmup_s": between(0, 86_400),
                    "scrape_interval_ms": between(1, HOUR_MS), "commit_poll_ms": between(1, HOUR_MS)}),
    "faults": many(record({
        "id": text, "kind": one_of("kill_leader", "cut_region", "loss_burst"),
        **dict.fromkeys(("at_ms", "duration_ms", "recovery_ms"), between(0, DAY_MS)),
        "region": Maybe(text), "from": Maybe(text), "to": Maybe(text), "loss_bps": Maybe(U32),
        "affected": many(text), "expectation": one_of("continues", "halts_until_healed"), "note": text})),
    "bounds": record({key: Maybe(between(least, most), default, null=False)
                      for key, (default, least, most) in BOUNDS.items()}),
    "added_gates": Maybe(added_gates, []), "notes": many(text)})


def plan(value):
    """A plan within its limits."""
    found = PLAN_FORM(value)
    need(len({node["name"] for node in found["nodes"]}) == len(found["nodes"]), "two nodes of one name")
    for gate in found["added_gates"]:
        meant = sum(means(gate, node) for node in found["nodes"])
        need(meant >= (2 if gate["fact"] == "spread" else 1), "a gate about too few nodes")
    need(len(found["nodes"]) <= NODES_MAX and len(found["faults"]) <= FAULTS_MAX and len(found["links"]) <= LINKS_MAX
         and sum(node["role"] == "validator" for node in found["nodes"]) <= VALIDATORS_MAX
         and 1000 * found["live"]["window_s"] // found["bounds"]["align_ms"] * len(found["nodes"]) <= INSTANTS_MAX
         and found["load"]["rate_per_second"] * found["live"]["window_s"] <= OFFERED_MAX, "beyond the limits of a plan")
    return found


STEP_DONE = "step.done"
JOURNAL = record({"kind": text, "data": free}, more=True)
