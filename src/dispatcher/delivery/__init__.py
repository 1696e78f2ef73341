"""From a due tick to a settled message: the schedule, the pump, the rescuer, and /start and /stop."""
