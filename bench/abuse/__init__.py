"""What is left to honest buyers beside one hostile client: `python -m bench.abuse`."""
