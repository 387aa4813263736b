"""The gRPC services as .proto files, the descriptors that are made of them, and the message classes."""
