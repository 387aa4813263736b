"""What model authors build on: context, base and default handlers, metrics. Public handlers import it as `ts`."""
