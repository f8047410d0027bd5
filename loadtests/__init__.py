"""Load tests: Locust users that check every octet they receive, and a verdict that says what was wanted."""
