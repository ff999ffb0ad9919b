"""What every process of the house needs before it does anything: settings, logs, telemetry."""
