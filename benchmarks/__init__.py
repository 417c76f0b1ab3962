"""Measurements that are no tests: run by hand, on a machine with nothing else to do."""
