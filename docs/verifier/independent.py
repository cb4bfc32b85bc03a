"""Reads the statements of a bundle with public packages: in-toto-attestation for the form, dilithium-py for the keys.

    python3 docs/verifier/independent.py BUNDLE --trust trust.yaml

Exit code 0: each statement is an in-toto Statement v1, signed by a trusted key, and no trusted key signed wrongly.
"""
import argparse
import base64
import json
import sys

from dilithium_py.ml_dsa import ML_DSA_44
from google.protobuf import json_format
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as Message

import container
import statements

SIGNATURE_BYTES = 2420
SIGNED = (statements.ATTESTATION, statements.TEST_RESULT)


def parse(payload):
    """The statement, if in-toto-attestation takes it; raises ValueError otherwise."""
    try:
        statement = Statement.copy_from_pb(json_format.Parse(payload, Message()))
    except json_format.ParseError as error:
        raise ValueError(str(error)) from None
    statement.validate()
    return statement.pb


def verifies(public_key, signature, kind, payload):
    """Whether an ML-DSA-44 signature, empty context, holds over the DSSE encoding of a payload."""
    kind = kind.encode()
    encoded = b" ".join((b"DSSEv1", b"%d" % len(kind), kind, b"%d" % len(payload), payload))
    return len(signature) == SIGNATURE_BYTES and ML_DSA_44.verify(public_key, encoded, signature)


def check(data, trusted):
    """(predicate type, names of the trusted keys that signed) of an envelope; raises ValueError if it is wrong."""
    envelope = json.loads(data)
    payload, signers = base64.b64decode(envelope["payload"], validate=True), []
    statement = parse(payload)
    for entry in envelope["signatures"]:
        if entry["keyid"] in trusted:
            name, key = trusted[entry["keyid"]]
            if not verifies(key, base64.b64decode(entry["sig"], validate=True), envelope["payloadType"], payload):
                raise ValueError(f"wrong signature under {entry['keyid']}")
            signers.append(name)
    if not signers:
        raise ValueError("no trusted key signed")
    return statement.predicate_type, signers


def main(arguments):
    parser = argparse.ArgumentParser(prog="independent.py", description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("--trust", required=True, help="trust file, schema qbind.trust/v1")
    options = parser.parse_args(arguments)
    try:
        trusted = statements.load_trust(options.trust)
        with container.Files() as files:
            container.fill(files, options.bundle)
            for name in SIGNED:
                kind, signers = check(files.read(name), trusted)
                print(f"{name}: {kind}, signed by {', '.join(signers)}")
    except (container.Refused, OSError, LookupError, TypeError, ValueError) as error:
        print(f"independent.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
