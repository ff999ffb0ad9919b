"""Who is calling: API keys, sessions and OpenID Connect tokens, each turned into a `Caller`."""
