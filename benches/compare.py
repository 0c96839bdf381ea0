#!/usr/bin/env python3
"""Runs pcapdoc and its peers on the same captures, in turns, and prints ratios.

Every round runs the floor program and then each tool once, so that what else the machine does
falls on all of them; the median over the rounds of (tool / floor of the same round) is printed
with the medians of wall time, CPU time and peak memory.

usage: compare.py [--rounds N] [--tools floor,pcapdoc,...] --floor FLOOR --pcapdoc PCAPDOC CAPTURE...
"""

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time


def measure(command, folder):
    """Wall seconds, CPU seconds, peak KiB and whether it succeeded."""
    with open(os.devnull, "r+b") as null:
        start = time.monotonic()
        child = subprocess.Popen(command, stdin=null, stdout=null, stderr=null, cwd=folder)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - start
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, child.returncode == 0


def commands(arguments, capture):
    tools = {
        "floor": [arguments.floor, capture],
        "pcapdoc": [arguments.pcapdoc, "analyze", capture, "--format", "json,html", "-o", "reports"],
        "pcapdoc-1": [arguments.pcapdoc, "analyze", capture, "--format", "json,html", "-o", "reports", "--threads", "1"],
        "tcptrace": ["tcptrace", "-l", "-r", capture],
        "tshark": ["tshark", "-r", capture, "-q", "-z", "conv,tcp"],
        "capinfos": ["capinfos", capture],
    }
    wanted = arguments.tools.split(",")
    return {name: command for name, command in tools.items() if name in wanted and shutil.which(command[0])}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--floor", required=True)
    parser.add_argument("--pcapdoc", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tools", default="floor,pcapdoc,pcapdoc-1")
    parser.add_argument("captures", nargs="+")
    arguments = parser.parse_args()
    arguments.floor, arguments.pcapdoc = map(os.path.abspath, (arguments.floor, arguments.pcapdoc))
    print(f"{'capture':<14} {'tool':<10} {'x floor':>8} {'x CPU':>7} {'wall s':>8} {'CPU s':>8} {'peak MiB':>9}")
    for capture in map(os.path.abspath, arguments.captures):
        with open(capture, "rb") as file:
            while file.read(1 << 24):
                pass
        results = {}
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(arguments.rounds):
                for name, command in commands(arguments, capture).items():
                    results.setdefault(name, []).append(measure(command, folder))
        floors = results["floor"]
        for name, runs in results.items():
            if not all(run[3] for run in runs):
                print(f"{os.path.basename(capture):<14} {name:<10} failed")
                continue
            median = [statistics.median(run[part] for run in runs) for part in range(3)]
            ratio = statistics.median(run[0] / floor[0] for run, floor in zip(runs, floors))
            cpu = statistics.median(run[1] / max(floor[1], 1e-3) for run, floor in zip(runs, floors))
            print(
                f"{os.path.basename(capture):<14} {name:<10} {ratio:8.2f} {cpu:7.2f} {median[0]:8.3f} {median[1]:8.3f} {median[2] / 1024:9.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
