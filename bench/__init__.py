"""Benchmarks: each figure against a peer measured in the same run.

`python -m bench` prints the table and writes build/bench.json; README.md says
what each row is. The packages, in reading order:

    harness   interleaved rounds, medians, what a row is
    cases/    what is measured, one file a subject
    peers/    what it is measured against, started and checked here
    guests/   the Wasm programs of both sides, as text
    report    the table and the JSON file
"""
