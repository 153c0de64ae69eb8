"""I/O: effects, the blocking and the asynchronous runner, retries, connections and their pool.

Rules kept here:

* Work is a generator that yields effects. The runner sends the results back, or throws exceptions in, including
  cancellation and Ctrl-C. Work is written once; the runner decides whether a wait blocks or is awaited.
* Only this package and the servers use sockets, TLS, waiting threads and asyncio.
"""
