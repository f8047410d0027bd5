"""mpserve: serve a directory over HTTP/1.1."""

__version__ = "0.1.0"
