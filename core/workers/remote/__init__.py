"""Workers on other hosts: how their processes are placed, connect, get the model's files, and are lost."""
