"""Networks and classical methods behind one contract, and the weights they are loaded from."""
