"""The measured network and the arithmetic the gates share. docs/gates.md, section 6."""
import functools
import ipaddress
from decimal import Decimal, localcontext
from fractions import Fraction

from records import U64, between, lines, many, need, one_of, record, text

MILLION = 1_000_000
TRIALS_MAX = 10_000_000
CLOSE = Decimal("1e-25")
SAMPLES_MAX, LATE_MAX_US, LATE_KERNEL_MAX_US, WAIT_MIN_US = 1 << 26, 1000, 5000, 3_000_000
SAMPLES_HEAD = record({
    "schema": one_of("qbind.samples/v1"), "started_unix_ms": U64, "schedule": record({
        "engine": one_of("kernel", "surge-ping"), "probes": between(1, MILLION), "warm_up": between(0, 10_000),
        "interval_us": between(1000, 60_000_000), "size_bytes": one_of(64, 1200), "dscp": between(0, 63),
        "seed": U64})})
PAIR = record({
    **dict.fromkeys(("from", "to", "source", "target"), text),
    **dict.fromkeys(("phase_us", "program_stamped", "refused", "largest_clock_step_us", "clock_steps"), U64),
    "late_us": many(between(0, 3_600_000_000)), "rtt_ns": many(between(-1, 3_600_000_000_000)),
    "duplicates": lambda value: None if value is None else U64(value)})


class NotRecomputed(Exception):
    """This verifier cannot judge; the text says why."""


# Percentiles and the bootstrap.

def percentile(ordered, thousandths):
    """Nearest rank, None of nothing."""
    return ordered[max(1, -(-len(ordered) * thousandths // 1000)) - 1] if ordered else None


class Random:
    """splitmix64."""

    def __init__(self, seed):
        self.state = seed

    def below(self, count):
        self.state = z = self.state + 0x9E3779B97F4A7C15 & (1 << 64) - 1
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & (1 << 64) - 1
        z = (z ^ z >> 27) * 0x94D049BB133111EB & (1 << 64) - 1
        return (z ^ z >> 31) * count >> 64


def bootstrap(plan, blocks, statistic):
    """The interval (low, high) of a statistic of ascending values, None without blocks or resamples."""
    dice, blocks, results = Random(plan["seed"]), [sorted(block) for block in blocks], []
    for _ in range(plan["bounds"]["bootstrap_resamples"] if blocks else 0):
        drawn = [blocks[dice.below(len(blocks))] for _ in blocks]
        results.append(statistic(sorted(value for block in drawn for value in block)))
    results.sort()
    return (percentile(results, 25), percentile(results, 975)) if results else None


# Binomial probabilities.

def is_at_most(trials, most, chance, limit):
    """Whether P(X <= most) <= limit for a binomial X; the smaller tail is summed in 60 digits."""
    with localcontext() as context:
        context.prec, context.Emin, context.Emax = 60, -999_999_999_999, 999_999_999_999
        chance, limit = (Decimal(x.numerator) / x.denominator for x in (chance, limit))
        if most < 0 or most >= trials:
            return most < 0
        is_upper = most + 1 > trials - most
        p, last = (1 - chance, trials - most - 1) if is_upper else (chance, most)
        term = (1 - p) ** trials
        total, odds = term, p / (1 - p)
        for i in range(last):
            term = term * (trials - i) / (i + 1) * odds
            total += term
        found = 1 - total if is_upper else total
        if abs(found - limit) < CLOSE:
            raise NotRecomputed("a probability too close to its limit")
        return found <= limit


@functools.cache
def loss_most(sent, lost):
    """The upper end for a loss in parts per million."""
    if lost >= sent:
        return MILLION
    low, high = 0, MILLION          # low does not hold, high does
    while high - low > 1:
        middle = (low + high) // 2
        if is_at_most(sent, lost, Fraction(middle, MILLION), Fraction(1, 40)):
            high = middle
        else:
            low = middle
    return high


def loss_interval(sent, lost):
    """Clopper-Pearson interval (low, high) of a loss, None if there is none."""
    if sent == 0 or lost > sent or sent > TRIALS_MAX:
        return None
    return MILLION - loss_most(sent, sent - lost), loss_most(sent, lost)


# The measured network.

def pair_of(value, probes):
    """One directed pair from its probes; a later answer than the wait counts as lost."""
    row = PAIR(value)
    need(len(row["late_us"]) == len(row["rtt_ns"]) == probes, "not as many as there were probes")
    for address in (row["source"], row["target"]):
        ipaddress.IPv4Address(address)
    times = sorted((ns + 500) // 1000 for ns in row["rtt_ns"] if ns >= 0)
    wait = max(WAIT_MIN_US, 4 * (percentile(times, 990) or 0))
    in_time = [time for time in times if time <= wait]
    p50, p95 = (percentile(in_time, q) or 0 for q in (500, 950))
    return (row["from"], row["to"]), {"sent": probes, "lost": probes - len(in_time), "p50_us": p50,
                                      "jitter_us": p95 - p50, "late_us": row["late_us"],
                                      "program_stamped": row["program_stamped"]}


def measured(rows):
    """Schedule and matrix of pairs from the lines of measure/samples.jsonl; raises Damaged if one breaks a rule."""
    need(rows, "no first line")
    schedule = SAMPLES_HEAD(rows[0])["schedule"]
    pairs = [pair_of(row, schedule["probes"]) for row in rows[1:]]
    need(len(dict(pairs)) == len(pairs), "a pair twice")
    return schedule, dict(pairs)


def late_max(schedule, matrix):
    """How late probes may leave, in microseconds at the 99th percentile."""
    stamped = sum(pair["program_stamped"] for pair in matrix.values())
    if schedule["engine"] == "kernel" and 100 * stamped <= sum(pair["sent"] for pair in matrix.values()):
        return min(LATE_KERNEL_MAX_US, schedule["interval_us"] // 4)
    return LATE_MAX_US


def read_measurement(files, regions):
    """(finding or None, matrix or None): one of them."""
    name = "measure/samples.jsonl"
    try:
        is_there = name in files and files.index[name][1] <= SAMPLES_MAX
        schedule, matrix = measured(lines(files, name, lambda row: row) or []) if is_there else (None, None)
    except ValueError:
        matrix = None
    if matrix is None:
        return ("UNKNOWN", f"{name}: absent or damaged"), None
    late = percentile(sorted(us for pair in matrix.values() for us in pair["late_us"]), 990)
    if late is not None and late > late_max(schedule, matrix):
        return ("UNKNOWN", f"{name}: probes left {late} us late"), None
    if any(pair["lost"] == pair["sent"] for pair in matrix.values()):
        return ("INVALID", f"{name}: a pair without answer"), None
    if {end for pair in matrix for end in pair} - set(regions) or len(matrix) != len(regions) * (len(regions) - 1):
        return ("UNKNOWN", f"{name}: not the pairs of the plan"), None
    return None, matrix


# Class and floor.

def classify(matrix):
    """The class of the network."""
    names = sorted({end for pair in matrix for end in pair})
    if len(names) < 2 or any((a, b) not in matrix for a in names for b in names if a != b):
        return "Invalid"
    if any(p["sent"] < 1000 or p["lost"] == p["sent"] for p in matrix.values()):
        return "Invalid"
    rtt = {frozenset(pair): max(p["p50_us"], matrix[pair[::-1]]["p50_us"]) for pair, p in matrix.items()}

    def median(values):
        values = sorted(values)
        return Fraction(values[(len(values) - 1) // 2] + values[len(values) // 2], 2) if values else None

    far = []
    for region in names:
        near, rest = (median(v for pair, v in rtt.items() if (region in pair) is here) for here in (True, False))
        if near is not None and rest is not None and near >= 2 * rest and near - rest >= 20_000:
            far.append(region)
    kept = [v for pair, v in rtt.items() if len(far) != 1 or far[0] not in pair]
    proved = all(is_at_most(p["sent"], p["lost"], Fraction(1, 200), Fraction(1, 20)) for p in matrix.values())
    flags = (("A" if max(rtt.values()) - min(rtt.values()) >= 50_000 or far else "")
             + ("F" if max(kept, default=0) > 200_000 else "")
             + ("J" if max(p["jitter_us"] for p in matrix.values()) > 30_000 else "")
             + ("" if proved else "L"))
    return {"": "Uniform", "A": "Asymmetric", "J": "HighJitter", "L": "Lossy"}.get(flags, "Mixed")


def latency_floor(matrix, validators):
    """The least time in microseconds in which a transfer can commit, None if there is no floor."""
    powers = [v["power"] or 0 for v in validators]
    regions = [v["region"] for v in validators]
    if not sum(powers) or any(a != b and (a, b) not in matrix for a in regions for b in regions):
        return None
    quorum, seats = 2 * sum(powers) // 3 + 1, range(len(validators))
    delay = [[0 if a == b or regions[a] == regions[b] else matrix[regions[a], regions[b]]["p50_us"] // 2
              for b in seats] for a in seats]

    def when(times):
        reached = 0
        for time, power in sorted(zip(times, powers)):
            reached += power
            if reached >= quorum:
                return time

    def step(sent):
        return [when([sent[v] + delay[v][r] for v in seats]) for r in seats]

    cert = [when([delay[c][v] + delay[v][c] for v in seats]) for c in seats]
    every = sorted(time + cert[o] for leader in seats for o, time in enumerate(step(step(delay[leader]))))
    return percentile(every, 500)
