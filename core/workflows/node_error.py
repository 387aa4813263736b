"""of_node(): makes the error of a request from that of a node."""

from __future__ import annotations

from ..errors import Expired, NodeFailed, Overloaded, ServeError


def of_node(error: Exception, workflow: str, node: str, attempts: int = 1) -> Exception:
    """Return the error of a request whose node has failed with `error`: of the same kind where the client can do
    something about it, such as to come again later. Other requests of its batch may have the same object.
    """
    if isinstance(error, (Overloaded, Expired)):
        made = type(error).__new__(type(error))
        made.__dict__.update(error.__dict__)
        made.message = f"Node {node} of workflow {workflow}: {error.message}"
        made.args = (made.message,)
        return made
    cause = error.message if isinstance(error, ServeError) else f"{type(error).__name__}: {error}"
    tried = f" in each of {attempts} attempts" if attempts > 1 else ""
    return NodeFailed(f"Error executing {node} of workflow {workflow}{tried}: {cause}")
