"""Machine, engine, settings and model, brought together for the planner."""
