"""Tests of the verifier against the published vector, and of what it must refuse.

Run in this folder: python3 -m unittest
"""
import base64
import hashlib
import io
import json
import os
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import zstandard
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

import container
import statements
import verify

VECTOR = json.loads((Path(__file__).parent.parent / "evidence-vector.json").read_text())
BUNDLE = base64.b64decode(VECTOR["bundle"])
PUBLIC = bytes.fromhex(VECTOR["key"]["public_key"])
TRUSTED = {VECTOR["key"]["keyid"]: ("vector", PUBLIC)}
SIGNER = MLDSA44PrivateKey.from_seed_bytes(bytes.fromhex(VECTOR["key"]["seed"]))


def frame(data):
    """A frame and its seal."""
    parameters = zstandard.ZstdCompressionParameters(window_log=20, write_checksum=True, write_content_size=False)
    data = zstandard.ZstdCompressor(compression_params=parameters).compress(data)
    return data + container.SEAL + hashlib.sha256(data).digest()


def pack(members):
    """A bundle of names and contents as they are, sound or not."""
    out = b"".join(container.header(name, len(data)) + data + bytes(-len(data) % 512) for name, data in members)
    return frame(out + bytes(1024))


def reseal(members):
    """A bundle of evidence with a manifest and statements of its own, signed by the vector's key."""
    outside = {statements.MANIFEST, statements.ATTESTATION, statements.TEST_RESULT}
    entries = [(n, len(d), container.sha3(d).hex()) for n, d in sorted(members.items()) if n not in outside]
    root = statements.merkle_root(entries)
    manifest = {"schema": "qbind.manifest/v1", "merkle_root": root,
                "files": [dict(zip(("path", "size", "sha3_256"), e)) for e in entries]}
    facts, stored = (json.loads(members[n]) for n in ("facts.json", "gates.json"))
    payloads = statements.expected_payloads(facts, stored, container.sha3(members["plan.yaml"]).hex(), root,
                                            [size for _, size, _ in entries])
    sealed = dict(zip((statements.ATTESTATION, statements.TEST_RESULT), map(envelope_of, payloads)))
    sealed[statements.MANIFEST] = (json.dumps(manifest, indent=2) + "\n").encode()
    return pack(sorted((members | sealed).items()))


def journal_of(records):
    head, out = "0" * 64, b""
    for seq, (kind, data) in enumerate(records):
        record = {"seq": seq, "time_unix_ms": seq, "kind": kind, "data": data, "prev": head}
        line = statements.compact(record)[:-1]
        head = container.sha3(b"QBIND:EVIDENCE:JOURNAL:v1\n", line).hex()
        out += line + f',"hash":"{head}"}}\n'.encode()
    return out


def envelope_of(payload, key=SIGNER):
    sig = key.sign(statements.pae(statements.PAYLOAD_TYPE, payload))
    encoded = [base64.b64encode(part).decode() for part in (payload, sig)]
    keyid = statements.key_id(key.public_key().public_bytes_raw())
    return statements.compact({"payload": encoded[0], "payloadType": statements.PAYLOAD_TYPE,
                               "signatures": [{"keyid": keyid, "sig": encoded[1]}]})


class Case(unittest.TestCase):
    """Gives every test a directory in which nothing may appear."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = os.path.join(self.folder.name, "x.qbundle")

    def problems(self, data, trusted=TRUSTED):
        Path(self.path).write_bytes(data)
        report = verify.examine(self.path, trusted)
        self.assertEqual(os.listdir(self.folder.name), ["x.qbundle"])
        self.assertEqual(report["valid"], not report["problems"])
        return "\n".join(report["problems"])

    def members(self):
        Path(self.path).write_bytes(BUNDLE)
        with container.Files() as files:
            container.fill(files, self.path)
            return {name: files.read(name) for name in files.index}


class Vector(Case):
    def test_key_id_and_signature_are_the_published_ones(self):
        self.assertEqual(statements.key_id(PUBLIC), VECTOR["key"]["keyid"])
        dsse = VECTOR["dsse"]
        message = statements.pae(dsse["payload_type"], dsse["payload"].encode())
        self.assertEqual(message.hex(), dsse["pae"])
        self.assertTrue(statements.verifies(PUBLIC, bytes.fromhex(dsse["signature"]), message))
        self.assertFalse(statements.verifies(PUBLIC, bytes.fromhex(dsse["signature"]), message + b"."))

    def test_root_and_head_are_the_published_ones(self):
        entries = [(f["path"], f["size"], f["sha3_256"]) for f in VECTOR["merkle"]["files"]]
        self.assertEqual(statements.merkle_root(entries), VECTOR["merkle"]["root"])
        lines = [line.encode() for line in VECTOR["journal"]["lines"]]
        self.assertEqual(statements.journal(lines), ([], VECTOR["journal"]["head"]))
        self.assertIn("hash is wrong", statements.journal([lines[0].replace(b"plan.fixed", b"plan.found")])[0][0])

    def test_the_bundle_is_valid_and_repacking_it_gives_the_same_files(self):
        self.assertEqual(self.problems(BUNDLE), "")
        members = self.members()
        self.assertEqual(statements.envelope("a", members[statements.ATTESTATION])[0].decode(), VECTOR["statement"])
        self.assertEqual(self.problems(pack(members.items())), "")

    def test_gates_without_raw_files_are_no_agreement(self):
        Path(self.path).write_bytes(BUNDLE)
        report = verify.examine(self.path, TRUSTED)
        self.assertTrue(report["valid"])
        self.assertFalse(report["agrees"])


class Tampering(Case):
    def test_any_changed_byte_is_noticed(self):
        for at in range(0, len(BUNDLE), max(1, len(BUNDLE) // 97)):
            changed = BUNDLE[:at] + bytes([BUNDLE[at] ^ 1]) + BUNDLE[at + 1:]
            self.assertRegex(self.problems(changed), "^container: ")

    def test_truncated_and_trailing_data_are_refused(self):
        for length in (0, 3, 100, len(BUNDLE) - 41, len(BUNDLE) - 1):
            self.assertRegex(self.problems(BUNDLE[:length]), "container: (truncated|does not begin)")
        self.assertIn("data after the seal", self.problems(BUNDLE + b"x"))
        self.assertIn("two zero blocks", self.problems(frame(bytes(1536))))
        self.assertIn("archive: truncated", self.problems(frame(bytes(512))))

    def test_names_outside_the_profile_are_refused(self):
        for name in ("../x", "steps/../../x", "/steps/x", "steps//x", "steps/./x", "Steps/x", "steps/\\x"):
            with self.subTest(name):
                self.assertIn("not a name of the profile", self.problems(pack([(name, b"")])))
        self.assertIn("no known file or folder", self.problems(pack([("etc/passwd", b"")])))
        self.assertIn("stands twice", self.problems(pack([("steps/a", b"1"), ("steps/a", b"2")])))
        self.assertIn("out of order", self.problems(pack([("steps/b", b""), ("steps/a", b"")])))

    def test_links_bombs_and_other_headers_are_refused(self):
        link = bytearray(container.header("steps/a", 0))
        link[156:157] = b"2"
        self.assertIn("not the header", self.problems(frame(bytes(link) + bytes(1024))))
        self.assertIn("beyond the limits", self.problems(frame(container.header("steps/a", (4 << 30) + 1))))
        bomb = container.header("steps/a", 1 << 26) + bytes(1 << 26)
        self.assertIn("1,000 bytes out", self.problems(frame(bomb)))

    def test_a_changed_file_is_named_also_with_its_digest_in_the_manifest(self):
        members = self.members()
        name = "measure/table.json"
        changed = members[name] + b"\n"
        self.assertRegex(self.problems(pack((members | {name: changed}).items())), f"^{name}: not the size and digest")
        manifest = json.loads(members["manifest.json"])
        for entry in manifest["files"]:
            if entry["path"] == name:
                entry.update(size=len(changed), sha3_256=container.sha3(changed).hex())
        for is_root_too in (False, True):
            if is_root_too:
                manifest["merkle_root"] = statements.merkle_root([tuple(e.values()) for e in manifest["files"]])
            text = (json.dumps(manifest, indent=2) + "\n").encode()
            found = self.problems(pack((members | {name: changed, "manifest.json": text}).items()))
            self.assertEqual("Merkle root is wrong" in found, not is_root_too)
            self.assertIn("attestation.dsse.json: the statement is not what", found)

    def test_files_missing_or_unlisted_are_named(self):
        members = self.members()
        more = sorted((members | {"steps/new": b""}).items())
        self.assertIn("steps/new: not in the manifest", self.problems(pack(more)))
        del members["journal.jsonl"]
        self.assertEqual("journal.jsonl: missing", self.problems(pack(members.items())))

    def test_only_trusted_keys_and_right_signatures_count(self):
        other = MLDSA44PrivateKey.generate()
        key = other.public_key().public_bytes_raw()
        stranger = {statements.key_id(key): ("other", key)}
        self.assertIn("no trusted key signed both", self.problems(BUNDLE, stranger))
        members = self.members()
        signed = members[statements.TEST_RESULT]
        wrong = json.loads(signed)
        wrong["signatures"][0]["sig"] = base64.b64encode(bytes(2420)).decode()
        members[statements.TEST_RESULT] = statements.compact(wrong)
        self.assertIn("test-result.dsse.json: wrong signature", self.problems(pack(members.items())))
        members[statements.TEST_RESULT] = signed + b"\n"
        self.assertIn("one spelling", self.problems(pack(members.items())))

    def test_sign_offs_are_held_to_their_rules(self):
        members = self.members()
        payload = statements.envelope("a", members[statements.ATTESTATION])[0]
        digest = {"sha256": hashlib.sha256(payload).hexdigest(), "sha3_256": container.sha3(payload).hex()}
        predicate = {"decision": "reject", "role": "council", "reason": "no", "decidedAt": "2026-01-01T00:00:00.000Z",
                     "recomputed": True, "waivers": [], "seen": []}
        off = {"_type": statements.STATEMENT, "subject": [{"name": "attestation", "digest": digest}],
               "predicateType": statements.SIGN_OFF, "predicate": predicate}
        name = f"sign-offs/{VECTOR['key']['keyid']}.dsse.json"

        def found(data, at=name):
            return self.problems(pack(sorted((members | {at: data}).items())))

        self.assertEqual(found(envelope_of(statements.compact(off))), "")
        self.assertIn("named after", found(envelope_of(statements.compact(off)), f"sign-offs/{'0' * 64}.dsse.json"))
        unreasoned = off | {"predicate": predicate | {"reason": ""}}
        self.assertIn("not a sign-off", found(envelope_of(statements.compact(unreasoned))))
        elsewhere = off | {"subject": [{"name": "attestation", "digest": digest | {"sha256": "0" * 64}}]}
        self.assertIn("about another attestation", found(envelope_of(statements.compact(elsewhere))))
        gone = off | {"predicate": predicate | {"seen": [{"keyid": "0" * 64, "decidedAt": "2026"}]}}
        self.assertIn(f"sign-offs/{'0' * 64}.dsse.json: missing", found(envelope_of(statements.compact(gone))))

    def test_a_plan_signed_first_is_held_to_the_journal_and_to_its_copy(self):
        members = self.members()
        self.assertEqual(self.problems(reseal(members)), "")
        plan = {"_type": statements.STATEMENT, "subject": statements.subject_of("plan.yaml", members["plan.yaml"]),
                "predicateType": statements.SIGNED_PLAN, "predicate": {"fixedAt": "2026-01-01T00:00:00.000Z"}}
        signed = envelope_of(statements.compact(plan))
        first, second = ("plan.fixed", {}), ("plan.signed", {"envelope_sha3_256": container.sha3(signed).hex()})

        def found(records, **files):
            files = {name.replace("_", "."): data for name, data in files.items()}
            return self.problems(reseal(members | files | {"journal.jsonl": journal_of(records)}))

        self.assertEqual(found([first, second], plan_dsse_json=signed), "")
        self.assertIn("the journal names it", found([first, second]))
        for records in ([first], [first, ("x", {}), second], [first, second, second]):
            self.assertIn("second record", found(records, plan_dsse_json=signed))
        other = envelope_of(statements.compact(plan | {"subject": statements.subject_of("plan.yaml", b"")}))
        second = ("plan.signed", {"envelope_sha3_256": container.sha3(other).hex()})
        self.assertIn("about another plan", found([first, second], plan_dsse_json=other))
        self.assertIn("not the copy", "".join(verify.examine(self.path, TRUSTED, signed)["problems"]))

    def test_exit_codes(self):
        Path(self.path).write_bytes(BUNDLE)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            self.assertEqual(verify.main([self.path]), 64)
            self.assertEqual(verify.main([self.path, "--trust", self.path]), 64)
            trust = os.path.join(self.folder.name, "trust.yaml")
            Path(trust).write_text(f"schema: qbind.trust/v1\nkeys:\n  - {{name: v, public_key: {PUBLIC.hex()}}}\n")
            self.assertEqual(verify.main([self.path, "--trust", trust, "--json"]), 1)


if __name__ == "__main__":
    unittest.main()
