"""Space of subnets: stages, their options, and the cost of each choice."""
