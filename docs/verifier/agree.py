"""Compares this verifier with another one over a folder of bundles.

    python3 docs/verifier/agree.py DIR

DIR holds bundles, trust.yaml and expected.json: by bundle `valid`, and of a valid one `verdict` and `gates`.
Exit code 0: both say the same of every bundle, and no gate of a valid bundle was left not recomputed.
"""
import json
import multiprocessing
import resource
import sys
from functools import partial
from pathlib import Path

import gates
import statements
import verify

MEMORY_MAX_MB = 300     # for a bundle that is refused


def look(trusted, path):
    """What this verifier says of a bundle, the gates it left, and the memory it took in megabytes."""
    try:
        report = verify.examine(path, trusted)
    except Exception as error:
        return {"crashed": repr(error)}, [], 0
    rows = {row[0]: row for row in report["gates"]}
    said = {"valid": report["valid"]}
    if rows:
        said |= {"verdict": rows.pop("overall")[3], "gates": {gate: row[3] for gate, row in rows.items()}}
    left = [f"{gate}: {row[4]}" for gate, row in rows.items() if row[1] == gates.NOT]
    return said, left, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def differences(expected, said):
    """Each point on which the two do not say the same."""
    points = [(key, expected.get(key), said.get(key)) for key in ("valid", "verdict", "crashed")]
    theirs, ours = expected.get("gates", {}), said.get("gates", {})
    points += [(gate, theirs.get(gate), ours.get(gate)) for gate in dict.fromkeys([*theirs, *ours])]
    return [point for point in points if point[1] != point[2]]


def main(folder):
    folder = Path(folder)
    expected = json.loads((folder / "expected.json").read_text())
    names = sorted(expected.keys() | {path.stem for path in folder.glob("*.qbundle")})
    work = partial(look, statements.load_trust(folder / "trust.yaml"))
    disagree = left = most = 0
    with multiprocessing.Pool(2, maxtasksperchild=1) as pool:
        results = pool.imap(work, [folder / f"{name}.qbundle" for name in names])
        for name, (said, not_recomputed, memory) in zip(names, results):
            found = differences(expected.get(name, {}), said)
            if not said.get("valid"):
                most = max(most, memory)
                found += [("memory", MEMORY_MAX_MB, memory)] if memory > MEMORY_MAX_MB else []
            disagree, left = disagree + bool(found), left + len(not_recomputed)
            for point, theirs, ours in found:
                print(f"{name:40} {point:8} expected {theirs}, found {ours}  {expected.get(name, {}).get('fault', '')}")
            for reason in not_recomputed:
                print(f"{name:40} not recomputed: {reason}")
    print(f"at most {most} MB for a bundle that is refused")
    print(f"{len(names)} bundles: {len(names) - disagree} agree, {disagree} disagree, {left} gates not recomputed")
    return 1 if disagree or left else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
