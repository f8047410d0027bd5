"""Does it work at all? Every kind of user, few of each, for half a minute. Made for every change.

It proves no speed. A wrong octet, wrong framing, a lost connection or a log that does not fit shows here
first, and within a minute.
"""
