#!/usr/bin/env python3
"""Analyses captures on Apache Spark: segment -> shuffle by shard -> judge -> conclude.

    spark-submit --files target/release/pcapdoc spark/pcapdoc_spark.py -o reports/ 'ring/*.pcap'

The files are one set. Each is taken apart by a task of its own (`pcapdoc segment`), Spark brings the
packets of each connection together and in order, `pcapdoc judge` follows the connections, and `pcapdoc
conclude` writes the reports here, on the driver. With --settle the files are read twice, and only packets of
connections that lie in several files are shuffled. What follows `--` is given to all three. See
docs/distributed.md and spark/README.md.
"""

import argparse
import contextlib
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import threading

import pyarrow as pa
from pyspark import SparkFiles, StorageLevel
from pyspark.sql import SparkSession

ROWS = pa.schema([
    pa.field("kind", pa.int32()), pa.field("shard", pa.int32()), pa.field("source", pa.int32()),
    pa.field("wire_len", pa.int32()), pa.field("start_ns", pa.int64()), pa.field("ordinal", pa.int64()),
    pa.field("frame", pa.int64()), pa.field("time_ns", pa.int64()), pa.field("bytes", pa.binary()),
])
ROWS_DDL = ("kind int, shard int, source int, wire_len int, "
            "start_ns bigint, ordinal bigint, frame bigint, time_ns bigint, bytes binary")
PACKET, HEAD, FACTS, STATE, KEYS = range(5)
SHARDS = 32


def program(name):
    """The binary on this machine: what came with --files, or what the name says."""
    sent = os.path.join(SparkFiles.getRootDirectory(), os.path.basename(name))
    if not os.path.exists(sent):
        return name
    if not os.access(sent, os.X_OK):
        os.chmod(sent, 0o755)
    return sent


def finished(process, what):
    """Waits for a process; that it failed fails the task, and Spark tries again."""
    if process.wait() != 0:
        raise RuntimeError(f"pcapdoc {what} ended with status {process.returncode}")


@contextlib.contextmanager
def as_file(content):
    """The path of a file with this content, for as long as it is used."""
    with tempfile.NamedTemporaryFile(suffix=".arrow") as file:
        file.write(content)
        file.flush()
        yield file.name


def segmenting(name, shards, fetch, options, first_reading=None):
    """A function from rows of (source, path) to the rows of these files: of all connections, or with what a
    first reading of all files gave, of those that lie in several."""
    def run(batches):
        with contextlib.ExitStack() as stack:
            extra = list(options)
            if first_reading:
                extra += ["--settle", "--files", stack.enter_context(as_file(first_reading.value))]
            for batch in batches:
                for source, path in zip(*(column.to_pylist() for column in batch.columns)):
                    yield from segmented(source, path, extra)

    def segmented(source, path, extra):
        command = [program(name), "segment", "--source", str(source), "--shards", str(shards), *extra]
        fetching = None
        if fetch:
            fetching = subprocess.Popen([word.replace("{}", path) for word in fetch], stdout=subprocess.PIPE)
            command += ["--name", path, "--", "-"]
        else:
            command += ["--", path]
        process = subprocess.Popen(command, stdout=subprocess.PIPE,
                                   stdin=fetching.stdout if fetching else subprocess.DEVNULL)
        with pa.ipc.open_stream(process.stdout) as rows:
            yield from rows
        finished(process, f"segment {path}")
        if fetching and fetching.wait() != 0:
            raise RuntimeError(f"{path} could not be fetched: status {fetching.returncode}")
    return run


def judging(name, heads, options):
    """A function from sorted packets to the states of their shards."""
    def run(batches):
        batches = iter(batches)
        first = next((batch for batch in batches if batch.num_rows), None)
        if first is None:
            return
        with as_file(heads.value) as files:
            command = [program(name), "judge", *options, "--files", files, "--", "-"]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            failures = []

            def feed():
                try:
                    with process.stdin, pa.ipc.new_stream(process.stdin, ROWS) as stream:
                        stream.write_batch(first.cast(ROWS))
                        for batch in batches:
                            stream.write_batch(batch.cast(ROWS))
                except BrokenPipeError:
                    pass  # It has ended, and its status says why.
                except BaseException as failure:  # Told in the thread that Spark watches.
                    failures.append(failure)
                    process.kill()

            feeder = threading.Thread(target=feed)
            feeder.start()
            try:
                with pa.ipc.open_stream(process.stdout) as states:
                    yield from states
            except pa.ArrowInvalid:
                pass  # It ended early: its status, or what stopped the feeder, says why.
            feeder.join()
            if failures:
                raise failures[0]
            finished(process, "judge")
    return run


def stream_of(frame):
    """The rows of a data frame as one stream, in memory."""
    stream = pa.BufferOutputStream()
    write_rows(frame, stream)
    return stream.getvalue().to_pybytes()


def write_rows(frame, to):
    """Writes the rows of a data frame as one stream, partition by partition."""
    with pa.ipc.new_stream(to, ROWS) as stream:
        for row in frame.toLocalIterator(prefetchPartitions=True):
            columns = [pa.array([row[field.name]], field.type) for field in ROWS]
            stream.write_batch(pa.record_batch(columns, schema=ROWS))


def by_shard(packets, partitions):
    """The packets of each shard in one partition, in order."""
    order = ["shard", "start_ns", "source", "ordinal"]
    if hasattr(packets, "repartitionById"):
        even = packets.repartitionById(partitions, packets["shard"] % partitions)
    else:
        even = packets.repartition(partitions, "shard")
    return even.sortWithinPartitions(*order)


def paths(inputs):
    """Paths, patterns, and files of one path or URI a line, which begin with @."""
    for one in inputs:
        if one.startswith("@"):
            with open(one[1:], encoding="utf-8") as lines:
                yield from (line.strip() for line in lines if line.strip())
        else:
            yield from sorted(glob.glob(one)) or [one]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", help="captures of one set: paths, patterns in quotes, @file of paths or URIs")
    parser.add_argument("-o", "--out", required=True, help="folder for the reports, on the driver")
    parser.add_argument("-f", "--format", default="html,md,json", help="what to write (default: %(default)s)")
    parser.add_argument("--pcapdoc", default="pcapdoc", help="the program: as sent with --files, or on every machine")
    parser.add_argument("--partitions", type=int, help="partitions of the shuffle (default: as many as cores, at least 32)")
    parser.add_argument("--settle", action="store_true",
                        help="read the files twice, and shuffle only connections that lie in several")
    parser.add_argument("--dataset", metavar="DIR", help="folder that all workers and the driver see, for the dataset's rows")
    parser.add_argument("--fetch", help="a command that prints a capture, such as 'aws s3 cp {} -' or 'hdfs dfs -cat {}'")
    argv, options = sys.argv[1:], []
    if "--" in argv:
        argv, options = argv[:argv.index("--")], argv[argv.index("--") + 1:]
    return parser.parse_args(argv), options


def main():
    given, options = arguments()
    spark = SparkSession.builder.appName("pcapdoc").getOrCreate()
    inputs = list(paths(given.inputs))
    partitions = given.partitions or max(SHARDS, spark.sparkContext.defaultParallelism)
    shards = -(-partitions // SHARDS) * SHARDS
    fetch = given.fetch.split() if given.fetch else None
    files = spark.sparkContext.parallelize(list(enumerate(inputs)), len(inputs)).toDF("source int, path string")
    first_reading = None
    if given.settle:
        looking = segmenting(given.pcapdoc, shards, fetch, [*options, "--heads"])
        first = files.mapInArrow(looking, ROWS_DDL).persist(StorageLevel.DISK_ONLY)
        first_reading = spark.sparkContext.broadcast(stream_of(first))
    dataset = ["--rows", given.dataset] if given.dataset else []
    segment = segmenting(given.pcapdoc, shards, fetch, [*options, *dataset], first_reading)
    rows = files.mapInArrow(segment, ROWS_DDL).persist(StorageLevel.DISK_ONLY)
    heads = spark.sparkContext.broadcast(stream_of((first if given.settle else rows).where(f"kind = {HEAD}")))
    packets = by_shard(rows.where(rows.kind == PACKET), partitions)
    states = packets.mapInArrow(judging(given.pcapdoc, heads, [*options, *dataset]), ROWS_DDL)
    with tempfile.NamedTemporaryFile(suffix=".arrow") as parts:
        write_rows(rows.where(rows.kind.isin(FACTS, STATE)), parts)
        write_rows(states, parts)
        parts.flush()
        here = shutil.which(program(given.pcapdoc)) or given.pcapdoc
        command = [here, "conclude", *options, *dataset, "-o", given.out, "-f", given.format, "--", parts.name]
        status = subprocess.run(command, check=False).returncode
    spark.stop()
    return status


if __name__ == "__main__":
    sys.exit(main())
