"""The stages of a run, one verb per file: scan, decode, find, dedup, infer, interpret, overlap,
tally, write.

Stages never import each other; `pipeline` connects them through the types of `records`.
"""
