"""aserve beside other servers: the same apps, the same client, turn by turn in one run."""
