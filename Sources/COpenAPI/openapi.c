#include "openapi.h"

// #embed is C23; before that, clang has it as an extension. So the file is a part of the binary, which needs no other beside it.
#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char document[] = {
#embed "openapi.yaml"
};

const unsigned char *openapi_document(unsigned long *length) {
    *length = sizeof document;
    return document;
}
