"""What takes time: Temporal workflows and their activities.

PostgreSQL holds authority; a workflow only drives. It carries ids, never payloads, and everything it does is an
append through a slice whose event ids come from the workflow's id and the step: doing it twice is doing it once.
"""
