"""The mixed load at a third of its strength for half an hour or longer: what grows that should not?

Memory and open descriptors of every worker are compared between the beginning and the end.
"""
