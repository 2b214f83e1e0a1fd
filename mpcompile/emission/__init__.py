"""Writing Python: what backends that emit source share. It knows no framework."""
