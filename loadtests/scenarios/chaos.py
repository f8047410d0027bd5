"""The mixed load while something happens to the server every four seconds: a worker is killed with KILL, one is
stopped for a second, HUP, TTIN, USR2, TTOU, and again. Only for a server that the run has started.

A worker that dies takes the connections with it that it had accepted, and nothing else: no connection is
refused, none that waits in a queue is lost, and a new worker takes the place. The run counts what a worker
holds before it kills it; every connection lost beyond that is a failure. A worker that hangs, a reload, an upgrade
in place, a worker more or less lose nothing at all.
"""
