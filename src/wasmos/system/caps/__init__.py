"""Who holds what, and through whom.

capmap     a snapshot of a kernel as data, and as a tree
manifest   the same of a manifest that isn't running
graph      as a graph for Graphviz and Mermaid
svg        as a picture that needs neither
"""
