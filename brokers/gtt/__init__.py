"""Orders that a broker keeps until a trigger: recorded in the ledger, sent like any order, followed in their own book."""
