"""One scenario per file: what it does, and why. Who takes part and how many stands in loadtests/catalogue.py."""
