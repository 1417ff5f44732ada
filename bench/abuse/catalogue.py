"""All attacks, by name."""

from bench.abuse.attack import Attack, Manner
from bench.abuse.documents import DOCUMENT_ATTACKS
from bench.abuse.purchases import PURCHASE_ATTACKS
from bench.abuse.subscriptions import SUBSCRIPTION_ATTACKS
from bench.abuse.wire import WIRE_ATTACKS, nothing

QUIET = Attack("nothing", "(nothing)", nothing, 0, Manner.CONNECTIONS, usual=True)
"""The row without an attack: it shows the influence of the machine on the figures."""

COSTLY = {"idle-15000"}
"""Attacks that take minutes. They run only when they are named."""

ATTACKS: dict[str, Attack] = {
    attack.name: attack
    for attack in (QUIET, *DOCUMENT_ATTACKS, *PURCHASE_ATTACKS, *SUBSCRIPTION_ATTACKS, *WIRE_ATTACKS)
}
