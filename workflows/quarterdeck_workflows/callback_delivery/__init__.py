"""Telling a requester's endpoint how its approval ended."""
