"""The two Regions that the tests use."""

from api.settings import EMBEDDED_REGIONS

HOME, PEER = EMBEDDED_REGIONS
