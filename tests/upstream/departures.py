"""DEPARTURES: rows of TorchServe's suites that fail here by intent, each with its reason.

A name is that of the table: the suite, a colon, the row.
"""

DEPARTURES: dict[str, str] = {}
