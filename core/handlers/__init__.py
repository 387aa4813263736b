"""What model authors build on: the context, the base and default handlers, metrics. Public handlers import it as `ts`."""
