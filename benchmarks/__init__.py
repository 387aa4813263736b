"""Measurements of this server beside its peers. Nothing of the product imports from here."""
