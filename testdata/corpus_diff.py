#!/usr/bin/env python3
"""What two builds say of every capture: which findings appeared, vanished or changed.

    corpus_diff.py record PCAPDOC FOLDER     analyses every capture, one JSON file each in FOLDER
    corpus_diff.py diff OLD NEW              compares two such folders, a line per difference

Captures: testdata/, and ../shared/captures where it is present. The times of a run and the
version are left out of the comparison.
"""
import concurrent.futures, json, os, pathlib, subprocess, sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PLACES = [ROOT / "testdata", ROOT.parent / "shared" / "captures"]
NOT_CAPTURES = {".json", ".md", ".py", ".sh", ".tsv", ".toml", ".txt", ".log", ".pem", ".key", ".conf", ".rs"}
OF_THE_RUN = ("tool", "generated_at", "elapsed", "version")


def captures():
    found = []
    for place in PLACES:
        for path in place.rglob("*"):
            if path.is_file() and path.suffix not in NOT_CAPTURES and not path.name.endswith(".truth"):
                found.append(path)
    return sorted(found)


def record(pcapdoc, folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def one(path):
        name = str(path).removeprefix(str(ROOT.parent) + "/").removeprefix(ROOT.name + "/").replace("/", "%")
        try:
            run = subprocess.run([pcapdoc, "analyze", str(path), "--format", "json", "--output", "-"],
                                 capture_output=True, timeout=120)
            (folder / f"{name}.json").write_bytes(run.stdout or b"exit %d" % run.returncode)
        except subprocess.TimeoutExpired:
            (folder / f"{name}.json").write_bytes(b"no answer within two minutes")

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(one, captures()))


def load(path):
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        return path.read_bytes().decode(errors="replace")
    for key in OF_THE_RUN:
        document.pop(key, None)
    return document


def identity(finding):
    ends = sorted({end for one in finding["connections"] for end in (one["client"], one["server"])})
    return finding["rule"], tuple(ends[:4])


def headline(finding):
    return f"{finding['rule']} {finding['severity']} {finding['confidence']:.2f} x{finding['occurrences']}: {finding['title']}"


def differences(old, new):
    """One line per difference of two values, with its path."""
    stack = [("", old, new)]
    while stack:
        path, a, b = stack.pop()
        if type(a) is not type(b):
            yield f"{path}: {str(a)[:80]} -> {str(b)[:80]}"
        elif isinstance(a, dict):
            stack += [(f"{path}.{key}", a.get(key), b.get(key)) for key in sorted(a.keys() | b.keys(), reverse=True)]
        elif isinstance(a, list):
            if len(a) != len(b):
                yield f"{path}: {len(a)} -> {len(b)} entries"
            else:
                stack += [(f"{path}[{at}]", x, y) for at, (x, y) in reversed(list(enumerate(zip(a, b))))]
        elif a != b:
            yield f"{path}: {str(a)[:120]} -> {str(b)[:120]}"


def diff(old, new):
    old, new = pathlib.Path(old), pathlib.Path(new)
    names = sorted({path.name for path in old.iterdir()} | {path.name for path in new.iterdir()})
    changed = 0
    for name in names:
        if not (old / name).exists() or not (new / name).exists():
            print(f"{name}: only in {'the new' if (new / name).exists() else 'the old'} folder")
            continue
        a, b = load(old / name), load(new / name)
        if a == b:
            continue
        changed += 1
        print(name)
        if isinstance(a, str) or isinstance(b, str):
            print(f"  {str(a)[:100]} -> {str(b)[:100]}")
            continue
        was = {identity(one): one for one in a["findings"]}
        now = {identity(one): one for one in b["findings"]}
        for key in was.keys() - now.keys():
            print("  -", headline(was[key]))
        for key in now.keys() - was.keys():
            print("  +", headline(now[key]))
        for key in was.keys() & now.keys():
            if headline(was[key]) != headline(now[key]):
                print("  ~", headline(was[key]), "->", headline(now[key]))
            elif was[key] != now[key]:
                print("  .", headline(now[key]), "|", next(differences(was[key], now[key])))
        rest = list(differences({k: v for k, v in a.items() if k != "findings"}, {k: v for k, v in b.items() if k != "findings"}))
        for line in rest[:3]:
            print("  =", line)
        if len(rest) > 3:
            print(f"  = and {len(rest) - 3} more")
    print(f"{changed} of {len(names)} captures differ")


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in ("record", "diff"):
        (record if sys.argv[1] == "record" else diff)(*sys.argv[2:])
    else:
        sys.exit(__doc__)
