"""What front and backend say to each other over one socket: frames and typed messages, no pickle, no I/O."""
