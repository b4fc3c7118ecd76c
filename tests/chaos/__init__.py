"""Real processes under fire, on seeded schedules."""
