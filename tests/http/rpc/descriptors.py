"""`python -m tests.http.rpc.descriptors` writes http/rpc/protos/descriptors.py anew from the .proto files there."""

from __future__ import annotations

import base64
import tempfile
from importlib.resources import files
from pathlib import Path

import grpc_tools.protoc
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

from torchserve.http.rpc import protos

FOLDER = Path(protos.__file__).parent
_HEAD = '''"""The descriptors of the .proto files in this folder: a FileDescriptorSet in base64, imported files first.

Written by `python -m tests.http.rpc.descriptors`: change a .proto file, and run that.
"""

FILE_SET = """
'''


def _plain(message: DescriptorProto) -> None:
    """Remove json_name, which protoc derives from the name, and which takes half of the space."""
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        _plain(nested)


def compiled() -> FileDescriptorSet:
    """What protoc makes of the .proto files; those of protobuf itself are taken from the installed library."""
    include = str(files("grpc_tools") / "_proto")
    names = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set"
        flags = [f"--descriptor_set_out={out}", "--include_imports", f"-I{FOLDER}", f"-I{include}"]
        assert grpc_tools.protoc.main(["protoc", *flags, *names]) == 0
        found = FileDescriptorSet.FromString(out.read_bytes())
    for file in found.file:
        for message in file.message_type:
            _plain(message)
    return FileDescriptorSet(file=[file for file in found.file if not file.name.startswith("google/protobuf/")])


def module() -> str:
    """The text of descriptors.py."""
    text = base64.b64encode(compiled().SerializeToString(deterministic=True)).decode()
    return _HEAD + "".join(f"{text[at : at + 120]}\n" for at in range(0, len(text), 120)) + '"""\n'


if __name__ == "__main__":
    (FOLDER / "descriptors.py").write_text(module())
