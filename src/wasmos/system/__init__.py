"""From a manifest to a running system: programs, servers, shell, shutdown.

Law: this layer decides who gets what; it has no mechanism of its own.
"""
