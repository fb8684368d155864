"""The space of subnets: what can be switched, and what each choice costs."""
