"""Tests of the published vector with public packages that share nothing with this verifier."""
import base64
import io
import json
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from dilithium_py.ml_dsa import ML_DSA_44

import container
import independent
import statements

VECTOR = json.loads((Path(__file__).parent.parent / "evidence-vector.json").read_text())
PUBLIC = bytes.fromhex(VECTOR["key"]["public_key"])
KEYID = VECTOR["key"]["keyid"]
TRUSTED = {KEYID: ("vector", PUBLIC)}
KIND = statements.PAYLOAD_TYPE


def flipped(data, at):
    """The bytes with one bit changed."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


class Independent(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "x.qbundle")
            path.write_bytes(base64.b64decode(VECTOR["bundle"]))
            with container.Files() as files:
                container.fill(files, path)
                cls.envelopes = [files.read(name) for name in independent.SIGNED]
        first = json.loads(cls.envelopes[0])
        cls.payload = base64.b64decode(first["payload"])
        cls.signature = base64.b64decode(first["signatures"][0]["sig"])

    def test_the_key_and_the_signature_of_the_vector_are_made_again(self):
        public, secret = ML_DSA_44.key_derive(bytes.fromhex(VECTOR["key"]["seed"]))
        self.assertEqual(public, PUBLIC)
        made = ML_DSA_44.sign(secret, bytes.fromhex(VECTOR["dsse"]["pae"]), deterministic=True)
        self.assertEqual(made.hex(), VECTOR["dsse"]["signature"])

    def test_both_statements_are_in_toto_and_signed(self):
        kinds = [independent.check(data, TRUSTED) for data in self.envelopes]
        self.assertEqual(kinds, [("https://qbind.org/attestation/rehearsal/v1", ["vector"]),
                                 ("https://in-toto.io/attestation/test-result/v0.1", ["vector"])])
        statement = independent.parse(self.payload)
        self.assertEqual(statement.predicate["verdict"], json.loads(VECTOR["statement"])["predicate"]["verdict"])

    def test_a_changed_bit_anywhere_ends_the_signature(self):
        holds = independent.verifies
        self.assertTrue(holds(PUBLIC, self.signature, KIND, self.payload))
        for at in (0, 31, 32, 1200, len(self.signature) - 85, len(self.signature) - 1):
            self.assertFalse(holds(PUBLIC, flipped(self.signature, at), KIND, self.payload), at)
        for at in (0, len(self.payload) // 2, len(self.payload) - 1):
            self.assertFalse(holds(PUBLIC, self.signature, KIND, flipped(self.payload, at)), at)
        for signature in (b"", self.signature[:-1], self.signature + b"\0"):
            self.assertFalse(holds(PUBLIC, signature, KIND, self.payload))
        self.assertFalse(holds(PUBLIC, self.signature, KIND + " ", self.payload))

    def test_another_key_does_not_verify(self):
        other, _ = ML_DSA_44.key_derive(bytes(32))
        self.assertFalse(independent.verifies(other, self.signature, KIND, self.payload))
        for trusted, why in (({KEYID: ("other", other)}, "wrong signature"), ({}, "no trusted key")):
            with self.assertRaisesRegex(ValueError, why):
                independent.check(self.envelopes[0], trusted)

    def test_what_is_no_statement_is_refused(self):
        value = json.loads(self.payload)
        for change in ({"_type": "https://in-toto.io/Statement/v0.1"}, {"subject": []}, {"predicateType": ""},
                       {"predicate": {}}, {"more": 1}, {"subject": [{"name": "x"}]}):
            with self.assertRaises(ValueError, msg=change):
                independent.parse(json.dumps(value | change))

    def test_exit_codes(self):
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            bundle, trust = Path(folder, "x.qbundle"), Path(folder, "trust.yaml")
            bundle.write_bytes(base64.b64decode(VECTOR["bundle"]))
            trust.write_text(f"schema: qbind.trust/v1\nkeys:\n  - {{name: v, public_key: {PUBLIC.hex()}}}\n")
            self.assertEqual(independent.main([str(bundle), "--trust", str(trust)]), 0)
            self.assertEqual(independent.main([str(trust), "--trust", str(trust)]), 1)


if __name__ == "__main__":
    unittest.main()
