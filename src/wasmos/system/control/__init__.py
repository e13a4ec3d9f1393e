"""A running system can be spoken to: a socket for its owner, and nobody else.

Law: the kernel never waits for whoever is at the other end. docs/reference/control.md is the
protocol's definition. Nothing is imported here: `wasmos run` pays for it only if it runs long.

    place     where the sockets are, and that nobody else put something there
    peer      who is at the other end
    wire      requests and answers as lines
    verbs     what can be asked
    stream    the audit, live
    server    the sockets of a kernel's loop
    later     a server that starts when the program has run for a while
    client    the other end
"""
