"""The HTTP doors: REST under /v1, AuthZEN under /access/v1, GraphQL, health. Effects at the edge; decisions below."""
