"""The estate: every object of an AI estate, how they relate, and what governs each path."""
