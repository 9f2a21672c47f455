"""Packed data: shards of records with random access by patch and by sensor (`docs/packing.md`).

`part`, `shard`, `codecs` and `source` are the format, which `layouts.packed` reads; `writer` and
`verify` know the layouts, and are imported where they are used.
"""
