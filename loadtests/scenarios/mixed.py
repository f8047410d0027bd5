"""Everybody at once, in the shares of a site's visitors, with some who mean no good. The gate before a release.

Each scenario alone shows one thing; together they show what one kind of client costs another.
"""
