#ifndef OPENAPI_H
#define OPENAPI_H

// The description of the HTTP interface (OpenAPI 3.1), as the file openapi.yaml has it, and how many bytes it has. It lives for ever.
const unsigned char *openapi_document(unsigned long *length);

#endif
