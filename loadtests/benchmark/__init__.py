"""The side-by-side benchmark: what a request costs each server, measured in turn on one machine.

The headline is processor time per request, because it is what a server can do nothing to hide: a rate of
requests depends on the client, on the other processor and on who waits for whom. Nothing is timed before
every server has given the same status and the same octets.
"""
