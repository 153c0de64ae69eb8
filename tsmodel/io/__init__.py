"""Where waiting happens: effects, what carries them out (to block, and to await), retrying, connections and their pool.

Rules kept here:

* Work is a generator that yields effects and is sent their results, or thrown what they raised, cancellation and Ctrl-C
  included. It is written once; whether a wait blocks or is awaited is decided by who runs it.
* Sockets, TLS, threads that wait, and asyncio are known here, and in what serves.
"""
