"""The counts of a server itself, read from its /metrics."""

import urllib.error
import urllib.request


def total(url: str, name: str, token: str = "") -> float:
    """The sum of all samples of a metric; 0 if the server has no metrics, such as a peer."""
    asking = urllib.request.Request(f"{url}/metrics", headers={"authorization": f"Bearer {token}"})  # noqa: S310
    try:
        with urllib.request.urlopen(asking) as response:  # noqa: S310 - our own address
            lines = response.read().decode().splitlines()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return 0.0
        raise
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))
