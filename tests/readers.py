"""Counts the rows of every table of a dataset with DuckDB and pyarrow; JSON comes out."""

import json
import pathlib
import sys

import duckdb
import pyarrow.dataset

root = pathlib.Path(sys.argv[1])
tables = {}
for folder in sorted(root.iterdir()):
    files = f"read_parquet('{folder}/**/*.parquet', hive_partitioning=true)"
    rows, sets, groups = duckdb.sql(
        f"select count(*), count(distinct capture_set), count(distinct capture_group) from {files}"
    ).fetchall()[0]
    table = pyarrow.dataset.dataset(folder, format="parquet", partitioning="hive").to_table()
    tables[folder.name] = {
        "duckdb": rows,
        "sets": sets,
        "groups": groups,
        "pyarrow": table.num_rows,
        "columns": table.column_names,
    }
hour = duckdb.sql(
    "select capture_group, hour, count(*) as n, max(response_max_ms) as slowest"
    f" from read_parquet('{root}/connections/**/*.parquet', hive_partitioning=true)"
    " group by all order by capture_group, hour"
).fetchall()
json.dump({"tables": tables, "hours": [[g, str(h), n, s] for g, h, n, s in hour]}, sys.stdout)
