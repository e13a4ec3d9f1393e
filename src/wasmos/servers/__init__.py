"""The servers: what a system is made of besides its programs.

Law: a server is a user of the kernel like any other. It uses `wasmos.kernel`, the messages and
the standard library, no other server, and a fault in it costs its own clients an answer and
nobody else anything. `pong` is the one to copy.

Nothing is imported here: a system pays for the servers it boots.
"""
