"""A second verifier of QBIND evidence bundles, written from the documents alone.

    pip install -r docs/verifier/requirements.txt
    python3 docs/verifier/verify.py BUNDLE --trust trust.yaml [--planned plan.dsse.json] [--json]

It shares no code with the programs of this repository. A gate it cannot work out is NOT RECOMPUTED: that is
no agreement, and whoever signs must decide what to make of it.

Exit code 0: valid, and every gate that was recomputed agrees. 1: not. 64: nothing could be tried.
"""
import argparse
import json
import sys
from pathlib import Path

import yaml

import gates
import statements
from container import Files, Refused, fill


def examine(bundle, trusted, planned=None):
    """Everything found out about a bundle."""
    report = {"problems": [], "gates": []}
    try:
        with Files() as files, statements.blame("bundle"):
            fill(files, bundle)
            report |= statements.check(files, trusted, planned)
            if not report["problems"]:
                stored = statements.parse("gates.json", files.read("gates.json"))
                report["gates"] = gates.recompute(files, stored)
    except Refused as error:
        report["problems"].append(str(error))
    report["valid"] = not report["problems"]
    report["agrees"] = report["valid"] and all(row[1] == gates.AGREES for row in report["gates"])
    return report


def show(report):
    for problem in report["problems"]:
        print(f"PROBLEM  {problem}")
    for note in report.get("notes", []):
        print(f"NOTE     {note}")
    if report["valid"]:
        print(f"VALID    signed by {', '.join(report['signers'])}; statement holds until {report['valid_until']}")
        for s in report["sign_offs"]:
            print(f"SIGN-OFF {s['decision']} as {s['role']} at {s['at']} by {s['name']} ({s['key'][:16]})")
        print(f"VERDICT  {report['verdict']}")
    else:
        print("NOT VALID")
    for gate, result, told, ours, why in report["gates"]:
        stored = f", stored {told or 'nothing'}" if result == gates.DIFFERS else ""
        print(f"{gate:8} {result}: {ours or told}{stored}" + (f" ({why})" if why else ""))
    rows = [row[1] for row in report["gates"] if row[0] != "overall"]
    if rows:
        print(f"{rows.count(gates.AGREES)} gates agree, {rows.count(gates.DIFFERS)} differ, "
              f"{rows.count(gates.NOT)} not recomputed")


def main(arguments):
    parser = argparse.ArgumentParser(prog="verify.py", description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("--trust", required=True, help="trust file, schema qbind.trust/v1")
    parser.add_argument("--planned", help="the signed plan as it was handed out before the run")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    try:
        options = parser.parse_args(arguments)
        trusted = statements.load_trust(options.trust)
        planned = Path(options.planned).read_bytes() if options.planned else None
        report = examine(options.bundle, trusted, planned)
    except SystemExit as stop:
        return 64 if stop.code else 0
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        print(f"verify.py: {error}", file=sys.stderr)
        return 64
    if options.json:
        keys = ("gate", "result", "stored", "recomputed", "why")
        print(json.dumps(report | {"gates": [dict(zip(keys, row)) for row in report["gates"]]}, indent=2))
    else:
        show(report)
    return 0 if report["agrees"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
