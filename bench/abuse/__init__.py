"""The purchases that honest buyers keep beside one hostile client: `python -m bench.abuse`."""
