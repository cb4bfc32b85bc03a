"""Checks what was signed: manifest, Merkle root, journal, both statements, signatures and sign-offs.

Derived from docs/evidence.md. Every check adds to a list of problems; the file at fault comes first.
"""
import base64
import binascii
import datetime
import hashlib
import json
import re
from contextlib import contextmanager

import yaml
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from container import LINE_MAX, Refused, sha3

ATTESTATION, TEST_RESULT, MANIFEST = "attestation.dsse.json", "test-result.dsse.json", "manifest.json"
REQUIRED = ["plan.yaml", "journal.jsonl", "gates.json", "facts.json", MANIFEST, ATTESTATION, TEST_RESULT]
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PLAN, PLAN_SIGNED = "plan.yaml", "plan.dsse.json"
SIGNED_PLAN = "https://qbind.org/attestation/plan/v1"
SIGN_OFF = "https://qbind.org/attestation/sign-off/v1"


def _once(pairs):
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _no_number(text):
    raise ValueError(f"{text} is no number")


def parse(name, data):
    """A JSON object in which no key stands twice."""
    try:
        value = json.loads(data, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{name}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refused(f"{name}: not an object")
    return value


@contextmanager
def blame(name):
    """Turns what a malformed file makes go wrong into a refusal that names it."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError,
            yaml.YAMLError) as error:
        raise Refused(f"{name}: malformed: {error!r}"[:300]) from None


def compact(value):
    """Compact JSON, keys in the order given."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def key_id(public_key):
    return sha3(public_key).hex()


def verifies(public_key, signature, message):
    """Pure ML-DSA-44 with empty context."""
    try:
        MLDSA44PublicKey.from_public_bytes(public_key).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):
        return False


def pae(kind, payload):
    """DSSE pre-authentication encoding."""
    kind = kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def merkle_root(entries):
    """Root over (path, size, digest) in manifest order; RFC 6962 trees are built from the right edge."""
    stack = []  # (leaves, hash) of complete subtrees, largest first
    node = lambda left, right: sha3(b"QBIND:EVIDENCE:NODE:v1\n", left, right)
    for path, size, digest in entries:
        path = path.encode()
        leaf = sha3(b"QBIND:EVIDENCE:LEAF:v1\n", len(path).to_bytes(8, "big"), path, size.to_bytes(8, "big"),
                    bytes.fromhex(digest))
        stack.append((1, leaf))
        while len(stack) > 1 and stack[-1][0] == stack[-2][0]:
            count, right = stack.pop()
            stack[-1] = (2 * count, node(stack[-1][1], right))
    top = stack.pop()[1]
    while stack:
        top = node(stack.pop()[1], top)
    return sha3(b"QBIND:EVIDENCE:ROOT:v1\n", len(entries).to_bytes(8, "big"), top).hex()


def journal(lines, plan_digest=None):
    """Problems of the lines of a journal, and its head."""
    problems, head = [], "0" * 64
    for number, line in enumerate(lines):
        where = f"journal.jsonl: line {number + 1}"
        found = re.fullmatch(rb'(.*),"hash":"([0-9a-f]{64})"\}', line, re.S)
        if not found or len(line) >= LINE_MAX:
            return problems + [f"{where}: not a record"], head
        record = parse(where, line)
        if list(record) != ["seq", "time_unix_ms", "kind", "data", "prev", "hash"] or record["seq"] != number:
            problems.append(f"{where}: wrong fields or number")
        if record.get("prev") != head:
            problems.append(f"{where}: does not follow the line before")
        head = sha3(b"QBIND:EVIDENCE:JOURNAL:v1\n", found[1]).hex()
        if head != record["hash"]:
            problems.append(f"{where}: its hash is wrong")
        data = record.get("data")
        said = data.get("plan_digest") if isinstance(data, dict) else None
        if plan_digest and said is not None and str(said).removeprefix("0x") != plan_digest:
            problems.append(f"{where}: names another plan")
    return problems, head


def overall(gates):
    """The verdict that the gates add up to."""
    hard = [g["verdict"] for g in gates if g["severity"] == "hard"]
    if "FAIL" in hard:
        return "FAIL"
    if any(g["verdict"] == "INVALID" for g in gates):
        return "INVALID"
    return "INCONCLUSIVE" if "UNKNOWN" in hard else "PASS"


def rfc3339(unix_ms):
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=unix_ms)
    return moment.isoformat(timespec="milliseconds") + "Z"


def expected_payloads(facts, gates, plan_digest, root, sizes):
    """The two payloads, built from the files alone."""
    start, end = facts["started_unix_ms"], facts["finished_unix_ms"]
    head = {"_type": STATEMENT, "subject": [
        {"name": s["name"], "digest": {"sha256": s["digest"]["sha256"], "sha3_256": s["digest"]["sha3_256"]}}
        for s in facts["subjects"]]}
    attestation = head | {"predicateType": "https://qbind.org/attestation/rehearsal/v1", "predicate": {
        "runId": facts["run_id"], "gateType": facts["gate_type"], "target": facts["target"],
        "form": facts["form"], "regions": facts["regions"],
        "window": {"start": rfc3339(start), "end": rfc3339(end)},
        "validity": {"start": rfc3339(end), "end": rfc3339(end + facts["valid_days"] * 86_400_000)},
        "planDigest": {"sha3_256": plan_digest},
        "evidence": {"merkleRoot": root, "files": len(sizes), "bytes": sum(sizes)},
        "verdict": gates["verdict"],
        "gates": [{key: g[key] for key in ("id", "severity", "verdict")} for g in gates["gates"]],
        "producer": facts["producer"]}}
    tests = {"passedTests": [], "warnedTests": [], "failedTests": []}
    for gate in gates["gates"]:
        kind = "passed" if gate["verdict"] == "PASS" else "failed" if gate["severity"] == "hard" else "warned"
        tests[kind + "Tests"].append(gate["id"])
    result = "FAILED" if gates["verdict"] != "PASS" else "WARNED" if tests["warnedTests"] else "PASSED"
    test_result = head | {"predicateType": "https://in-toto.io/attestation/test-result/v0.1", "predicate": {
        "result": result, "configuration": [{"name": "plan.yaml", "digest": {"sha3_256": plan_digest}}], **tests}}
    return compact(attestation), compact(test_result)


def envelope(name, data):
    """Payload and signatures of an envelope in its one spelling."""
    try:
        value = parse(name, data)
        payload = base64.b64decode(value["payload"], validate=True)
        signatures = [(s["keyid"], base64.b64decode(s["sig"], validate=True)) for s in value["signatures"]]
        spelled = compact({"payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE, "signatures": [
            {"keyid": key, "sig": base64.b64encode(sig).decode()} for key, sig in signatures]})
    except (KeyError, TypeError, binascii.Error) as error:
        raise Refused(f"{name}: not an envelope: {error!r}") from None
    if spelled != data:
        raise Refused(f"{name}: not the one spelling of an envelope")
    keys = [key for key, _ in signatures]
    if not keys or keys != sorted(set(keys)):
        raise Refused(f"{name}: signatures missing, not sorted, or a key stands twice")
    return payload, signatures


def load_trust(path):
    """Trusted keys by key id."""
    with open(path, "rb") as file:
        value = yaml.safe_load(file)
    if value["schema"] != "qbind.trust/v1":
        raise ValueError("not a trust file")
    trusted = {}
    for entry in value["keys"]:
        key = bytes.fromhex(entry["public_key"])
        if len(key) != 1312:
            raise ValueError(f"the key of {entry['name']} has not 1,312 bytes")
        trusted[key_id(key)] = (entry["name"], key)
    return trusted


def check_manifest(files):
    """Problems of the manifest, its root and the sizes it lists."""
    data = files.read(MANIFEST)
    manifest = parse(MANIFEST, data)
    if manifest["schema"] != "qbind.manifest/v1" or list(manifest) != ["schema", "merkle_root", "files"]:
        raise Refused(f"{MANIFEST}: another schema")
    if (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode() != data:
        raise Refused(f"{MANIFEST}: not its one spelling")
    problems, entries = [], []
    for entry in manifest["files"]:
        if list(entry) != ["path", "size", "sha3_256"] or not re.fullmatch("[0-9a-f]{64}", entry["sha3_256"]):
            raise Refused(f"{MANIFEST}: an entry of another form")
        entries.append(tuple(entry.values()))
    unlisted = {MANIFEST, ATTESTATION, TEST_RESULT} | set(files.under("sign-offs"))
    listed = [path for path, _, _ in entries]
    known = unlisted | set(listed)
    if listed != sorted(set(listed)):
        problems.append(f"{MANIFEST}: not sorted, or a path stands twice")
    problems += [f"{p}: not in the manifest" for p in files.index if p not in known]
    for path, size, digest in entries:
        if path in unlisted:
            problems.append(f"{path}: must not be in the manifest")
        elif path not in files:
            problems.append(f"{path}: in the manifest, not in the bundle")
        elif files.index[path][1:] != (size, digest):
            problems.append(f"{path}: not the size and digest of the manifest")
    if not entries or merkle_root(entries) != manifest["merkle_root"]:
        problems.append(f"{MANIFEST}: the Merkle root is wrong")
    return problems, manifest["merkle_root"], [size for _, size, _ in entries]


def check_facts(files, facts, plan):
    """Where the plan fixes what the facts say, they agree; so do the digests of the genesis file."""
    problems = []
    for key in ("form", "target", "gate_type", "regions"):
        theirs = [r["id"] for r in plan[key]] if key == "regions" and key in plan else plan.get(key)
        if key in plan and facts[key] != theirs:
            problems.append(f"facts.json: {key} is not the plan's")
    subjects = {s["name"]: s["digest"] for s in facts["subjects"]}
    planned = {b["name"]: b["sha3"] for b in plan.get("binaries", [])}
    if "genesis" in plan:
        planned["genesis.json"] = plan["genesis"]["sha3"]
    for name, digest in planned.items():
        if subjects.get(name, {}).get("sha3_256") != digest.removeprefix("0x"):
            problems.append(f"facts.json: subject {name} is not the plan's")
    if "genesis.json" in files and "genesis.json" in subjects:
        genesis = files.read("genesis.json")
        if subjects["genesis.json"] != {"sha256": hashlib.sha256(genesis).hexdigest(), "sha3_256": sha3(genesis).hex()}:
            problems.append("genesis.json: not the subject of the statement")
    return problems


def check_signatures(files, expected, trusted, problems):
    """Adds to the problems; gives the attestation's payload, who signed both statements, and notes."""
    payloads, notes, good = [], [], {}
    for name, built in zip((ATTESTATION, TEST_RESULT), expected):
        payload, signatures = envelope(name, files.read(name))
        payloads.append(payload)
        if payload != built:
            problems.append(f"{name}: the statement is not what the files add up to")
        for key, signature in signatures:
            if key not in trusted:
                notes.append(f"{name}: key {key[:16]} is not in the trust file, counts for nothing")
            elif verifies(trusted[key][1], signature, pae(PAYLOAD_TYPE, payload)):
                good.setdefault(key, set()).add(name)
            else:
                problems.append(f"{name}: wrong signature under the trusted key {key[:16]}")
    signers = [f"{trusted[key][0]} ({key})" for key, names in good.items() if len(names) == 2]
    if not signers:
        problems.append(f"{ATTESTATION}: no trusted key signed both statements")
    return payloads[0], signers, notes


def check_signed_plan(files, trusted, planned):
    """Problems and notes of the plan's own signature; `planned` is a copy that was handed out before the run."""
    records = [parse("journal.jsonl", line) for line in files.lines("journal.jsonl")]
    said = [(r["seq"], r["data"].get("envelope_sha3_256", "").removeprefix("0x"))
            for r in records if r["kind"] == "plan.signed"]
    if PLAN_SIGNED not in files and not said:
        problems = [f"{PLAN_SIGNED}: missing, a copy was expected"] if planned is not None else []
        return problems, ["plan.yaml: what had to be reached was not signed before the run"]
    if PLAN_SIGNED not in files:
        return [f"{PLAN_SIGNED}: missing, the journal names it"], []
    data, plan = files.read(PLAN_SIGNED), files.read(PLAN)
    if said != [(1, sha3(data).hex())]:
        return [f"{PLAN_SIGNED}: not what the journal's second record, and no other, names"], []
    payload, signatures = envelope(PLAN_SIGNED, data)
    value = parse(PLAN_SIGNED, payload)
    problems, notes = [], []
    if compact(value) != payload or (value["_type"], value["predicateType"]) != (STATEMENT, SIGNED_PLAN):
        problems.append(f"{PLAN_SIGNED}: not the statement of a plan")
    if value["subject"] != subject_of(PLAN, plan):
        problems.append(f"{PLAN_SIGNED}: about another plan")
    if planned is not None and planned != data:
        problems.append(f"{PLAN_SIGNED}: not the copy that was handed out")
    for key, signature in signatures:
        if key in trusted and not verifies(trusted[key][1], signature, pae(PAYLOAD_TYPE, payload)):
            problems.append(f"{PLAN_SIGNED}: wrong signature under the trusted key {key[:16]}")
        who = trusted[key][0] if key in trusted else "a stranger, counts for nothing"
        notes.append(f"{PLAN_SIGNED}: signed by {who} ({key[:16]}), who says at {value['predicate']['fixedAt']}")
    return problems, notes


def subject_of(name, data):
    """The subject of a statement about these bytes."""
    return [{"name": name, "digest": {"sha256": hashlib.sha256(data).hexdigest(), "sha3_256": sha3(data).hex()}}]


def check_seen(decisions):
    """What a known signer saw still lies there, or a later decision of the same key."""
    latest, problems = {d["key"]: d["at"] for d in decisions}, []
    for decision in decisions:
        if not decision["known"]:
            continue
        for seen in decision["seen"]:
            if latest.get(seen["keyid"], "") < seen["decidedAt"]:
                problems.append(f"sign-offs/{seen['keyid']}.dsse.json: missing or older, {decision['name']} saw it")
    return problems


def check_sign_off(files, name, subject, trusted):
    """Problems of one sign-off, and what it says."""
    payload, signatures = envelope(name, files.read(name))
    key = signatures[0][0]
    if len(signatures) != 1 or name != f"sign-offs/{key}.dsse.json" or not re.fullmatch("[0-9a-f]{64}", key):
        return [f"{name}: not one signature by the key it is named after"], None
    value = parse(name, payload)
    predicate = value.get("predicate", {})
    waived, seen = [w["gate"] for w in predicate.get("waivers", [])], predicate.get("seen", [])
    keys = [entry["keyid"] for entry in seen]
    if (compact(value) != payload or value.get("_type") != STATEMENT or value.get("predicateType") != SIGN_OFF
            or predicate.get("decision") not in ("approve", "reject")
            or waived != sorted(set(waived)) or keys != sorted(set(keys))
            or predicate["decision"] == "reject" and not predicate.get("reason")):
        return [f"{name}: not a sign-off"], None
    if value["subject"] != subject:
        return [f"{name}: about another attestation"], None
    if key in trusted and not verifies(trusted[key][1], signatures[0][1], pae(PAYLOAD_TYPE, payload)):
        return [f"{name}: wrong signature"], None
    known = key in trusted
    return [], {"key": key, "name": trusted[key][0] if known else "stranger, counts for nothing", "known": known,
                "decision": predicate["decision"], "role": predicate["role"], "at": predicate["decidedAt"],
                "seen": seen}


def check(files, trusted, planned=None):
    """What docs/evidence.md asks of the files themselves. Returns a report with its problems."""
    missing = [f"{name}: missing" for name in REQUIRED if name not in files]
    if missing:
        return {"problems": missing}
    with blame(MANIFEST):
        problems, root, sizes = check_manifest(files)
    plan_digest = sha3(files.read("plan.yaml")).hex()
    with blame("plan.yaml"):
        plan = yaml.safe_load(files.read("plan.yaml"))
        plan = {key: plan[key] for key in plan}
    facts, gates = parse("facts.json", files.read("facts.json")), parse("gates.json", files.read("gates.json"))
    problems += [f"{name}: another schema" for name, value, schema in (
        ("facts.json", facts, "qbind.facts/v1"), ("gates.json", gates, "qbind.gates/v1"),
        ("plan.yaml", plan, "qbind.plan/v1")) if value.get("schema") != schema]
    problems += journal(files.lines("journal.jsonl"), plan_digest)[0]
    with blame("gates.json"):
        if gates["verdict"] == "PASS" != overall(gates["gates"]):
            problems.append("gates.json: claims PASS against its own gates")
    with blame("facts.json"):
        problems += check_facts(files, facts, plan)
        valid_until = rfc3339(facts["finished_unix_ms"] + facts["valid_days"] * 86_400_000)
        expected = expected_payloads(facts, gates, plan_digest, root, sizes)
    payload, signers, notes = check_signatures(files, expected, trusted, problems)
    with blame(PLAN_SIGNED):
        found, more = check_signed_plan(files, trusted, planned)
    problems, notes = problems + found, notes + more
    subject = subject_of("attestation", payload)
    sign_offs, decisions = files.under("sign-offs"), []
    if len(sign_offs) > 256 or any(files.index[n][1] > 512 << 10 for n in sign_offs):
        raise Refused("sign-offs: more than 256 files or 512 KiB in one")
    for name in sign_offs:
        with blame(name):
            found, decision = check_sign_off(files, name, subject, trusted)
        problems += found
        decisions += [decision] if decision else []
    with blame("sign-offs"):
        problems += check_seen(decisions)
    return {"problems": problems, "signers": signers, "notes": notes, "sign_offs": decisions,
            "verdict": gates["verdict"], "valid_until": valid_until}
