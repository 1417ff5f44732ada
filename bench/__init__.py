"""Measurements that can be run again. See README.md in this folder."""
