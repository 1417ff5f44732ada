"""The list of drops as the server sends it: what a reader without script sees."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from api.database.pool import Pool
from api.drops.race_product import RACE
from api.drops.new_product import create_product
from api.settings import Settings
from api.shop.reading import read_shop
from tests.server import Server, serving

LATER, LATEST = "2998-01-01T00:00:00Z", "2999-01-01T00:00:00Z"
