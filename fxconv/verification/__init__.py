"""Whether a conversion is right: parity, the ledger, the audit, other sizes."""
