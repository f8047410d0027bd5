"""The mixed load while workers are killed with KILL, one every four seconds. Only for a server that the run
has started.

A worker that dies takes the connections with it that it had accepted, and nothing else: no connection is
refused, none that waits in a queue is lost, and a new worker takes the place. The run counts what a worker
holds before it kills it; every connection lost beyond that is a failure.
"""
