"""The API's pages: Swagger UI over the OpenAPI documents of a listener, and its gRPC services beside them."""
