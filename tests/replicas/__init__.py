"""Three servers behind a proxy: restarted one by one under load, and one killed. `python -m tests.replicas` runs it."""
