#include "request_tables.h"
#include <string.h>

// #embed is C23; before that, clang has it as an extension. So the files are a part of the binary, which needs no others beside it.
#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char anthropic_chat[] = {
#embed "tables/anthropic-chat.txt"
};

static const unsigned char anthropic_messages[] = {
#embed "tables/anthropic-messages.txt"
};

static const unsigned char azure_chat[] = {
#embed "tables/azure-chat.txt"
};

static const unsigned char compatible_chat[] = {
#embed "tables/compatible-chat.txt"
};

static const unsigned char elsewhere[] = {
#embed "tables/elsewhere.txt"
};

static const unsigned char embeddings[] = {
#embed "tables/embeddings.txt"
};

static const unsigned char embeddings_compatible[] = {
#embed "tables/embeddings-compatible.txt"
};

static const unsigned char gemini_chat[] = {
#embed "tables/gemini-chat.txt"
};

static const unsigned char gemini_openai_chat[] = {
#embed "tables/gemini-openai-chat.txt"
};

static const unsigned char openai_chat[] = {
#embed "tables/openai-chat.txt"
};

static const unsigned char openai_responses[] = {
#embed "tables/openai-responses.txt"
};

static const unsigned char responses_compatible[] = {
#embed "tables/responses-compatible.txt"
};

static const unsigned char xai_chat[] = {
#embed "tables/xai-chat.txt"
};

static const unsigned char xai_responses[] = {
#embed "tables/xai-responses.txt"
};

static const struct {
    const char *name;
    const unsigned char *bytes;
    unsigned long length;
} tables[] = {
    {"anthropic-chat", anthropic_chat, sizeof anthropic_chat},
    {"anthropic-messages", anthropic_messages, sizeof anthropic_messages},
    {"azure-chat", azure_chat, sizeof azure_chat},
    {"compatible-chat", compatible_chat, sizeof compatible_chat},
    {"elsewhere", elsewhere, sizeof elsewhere},
    {"embeddings", embeddings, sizeof embeddings},
    {"embeddings-compatible", embeddings_compatible, sizeof embeddings_compatible},
    {"gemini-chat", gemini_chat, sizeof gemini_chat},
    {"gemini-openai-chat", gemini_openai_chat, sizeof gemini_openai_chat},
    {"openai-chat", openai_chat, sizeof openai_chat},
    {"openai-responses", openai_responses, sizeof openai_responses},
    {"responses-compatible", responses_compatible, sizeof responses_compatible},
    {"xai-chat", xai_chat, sizeof xai_chat},
    {"xai-responses", xai_responses, sizeof xai_responses},
};

const unsigned char *request_table(const char *name, unsigned long *length) {
    for (unsigned long index = 0; index < sizeof tables / sizeof tables[0]; index++) {
        if (strcmp(tables[index].name, name) == 0) {
            *length = tables[index].length;
            return tables[index].bytes;
        }
    }
    *length = 0;
    return 0;
}
