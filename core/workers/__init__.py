"""Backend processes as the front sees them: started, spoken to, watched, restarted."""
