"""Classical methods behind the interface of the networks."""
