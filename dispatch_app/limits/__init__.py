"""Rate limits: how often, how much and how much at once may be asked. Shared by all processes; nothing of it is money."""
